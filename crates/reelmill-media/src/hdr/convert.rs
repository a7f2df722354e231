//! Dolby Vision profile 7 to 8.1, picture by picture, without decoding.

use super::digest::Digest;
use super::nal::NalKind;
use super::rpu::Rpu;
use super::sei::{self, Without};
use reelmill_core::dolby::{self, EnhancementLayer};
use reelmill_core::error::Failure;

/// Pictures without metadata that are named; the rest is counted.
const NAMED: usize = 8;

/// How to convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether HDR10+ metadata is taken out.
    pub drop_hdr10_plus: bool,
    /// Whether a full enhancement layer may be lost though the picture gets
    /// darker by it.
    pub allow_fel_loss: bool,
    /// Nits that the base layer's mastering display reached, where known.
    pub base_nits: Option<u32>,
    /// What the base layer is without metadata: 1 HDR10, 4 HLG.
    pub compatibility: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { drop_hdr10_plus: false, allow_fel_loss: false, base_nits: None, compatibility: 1 }
    }
}

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Converted {
    /// Pictures.
    pub pictures: u64,
    /// NAL units of the enhancement layer that were taken out.
    pub layer_units: u64,
    /// Pictures with a minimal and with a full enhancement layer.
    pub mel: u64,
    /// Pictures with a full enhancement layer.
    pub fel: u64,
    /// Pictures with HDR10+ metadata, as they are now.
    pub hdr10_plus: u64,
    /// NAL units that are as they were.
    pub kept_units: u64,
    /// Digest of those.
    pub kept: Digest,
}

/// Converts a stream's pictures in coding order.
#[derive(Debug)]
pub struct Converter {
    options: Options,
    done: Converted,
    missing: Vec<String>,
    missing_count: u64,
    /// The metadata converted last, before and after: pictures of a scene often have
    /// the same.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    before: Vec<u8>,
    after: Vec<u8>,
    layer: Option<EnhancementLayer>,
}

impl Converter {
    /// At the start of a stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let done = Converted::default();
        Self { options, done, missing: Vec::new(), missing_count: 0, last: None }
    }

    /// Converts one picture's NAL units. `rpu` is its metadata where that comes
    /// from elsewhere (a second track); `name` names the picture to people.
    ///
    /// # Errors
    /// Class input, when metadata is damaged, doubled or of a profile that cannot
    /// be converted, or too much would be lost; what `emit` fails with.
    pub fn picture<'n>(
        &mut self,
        nals: impl IntoIterator<Item = &'n [u8]>,
        rpu: Option<&[u8]>,
        name: &dyn Fn() -> String,
        emit: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let at = |mut failure: Failure| {
            failure.message = format!("{}: {}", name(), failure.message);
            failure
        };
        let (mut found, mut dynamic) = (0, false);
        for nal in nals {
            match NalKind::of(nal) {
                Some(NalKind::EL) => self.done.layer_units += 1,
                Some(NalKind::RPU) => {
                    found += 1;
                    if found == 1 {
                        emit(self.convert(nal).map_err(at)?)?;
                    }
                }
                Some(NalKind::SEI_PREFIX) => dynamic |= self.sei(nal, emit)?,
                _ => self.keep(nal, emit)?,
            }
        }
        if let Some(nal) = rpu.filter(|_| found == 0) {
            found = 1;
            emit(self.convert(nal).map_err(at)?)?;
        }
        if found > 1 {
            return Err(at(Failure::input("it has Dolby Vision metadata more than once")
                .advise("the stream is damaged or was put together wrongly")));
        }
        if found == 0 {
            self.missing_count += 1;
            if self.missing.len() < NAMED {
                self.missing.push(name());
            }
        }
        self.done.pictures += 1;
        self.done.hdr10_plus += u64::from(dynamic);
        Ok(())
    }

    /// What was done.
    ///
    /// # Errors
    /// Class input, when pictures had no metadata.
    pub fn finish(self) -> Result<Converted, Failure> {
        if self.missing_count == 0 {
            return Ok(self.done);
        }
        if self.missing_count == self.done.pictures {
            return Err(dolby::none_in_stream());
        }
        let mut named = self.missing.join(", ");
        if self.missing_count as usize > self.missing.len() {
            named.push_str(", …");
        }
        let message = format!(
            "{} of {} pictures have no Dolby Vision metadata: {named}",
            self.missing_count, self.done.pictures
        );
        Err(Failure::input(message).advise("rip or copy the source again: it is damaged"))
    }

    fn keep(
        &mut self,
        nal: &[u8],
        emit: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.done.kept_units += 1;
        self.done.kept.bytes(nal);
        emit(nal)
    }

    /// Whether HDR10+ metadata is in it and stays.
    fn sei(
        &mut self,
        nal: &[u8],
        emit: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        if self.options.base_nits.is_none() {
            self.options.base_nits = sei::mastering_nits(nal);
        }
        if !self.options.drop_hdr10_plus {
            self.keep(nal, emit)?;
            return Ok(sei::hdr10_plus(nal).is_some());
        }
        match sei::without_hdr10_plus(nal) {
            Without::All => self.keep(nal, emit)?,
            Without::Rest(rest) => self.keep(&rest, emit)?,
            Without::Nothing => {}
        }
        Ok(false)
    }

    fn convert(&mut self, nal: &[u8]) -> Result<&[u8], Failure> {
        let last = match self.last.take().filter(|last| last.before == nal) {
            Some(last) => last,
            None => self.converted(nal)?,
        };
        match last.layer {
            Some(EnhancementLayer::Mel) => self.done.mel += 1,
            Some(EnhancementLayer::Fel) => self.done.fel += 1,
            None => {}
        }
        Ok(&self.last.insert(last).after)
    }

    fn converted(&self, nal: &[u8]) -> Result<Last, Failure> {
        let mut rpu = Rpu::parse(nal)?;
        let layer = rpu.layer();
        let Options { base_nits, allow_fel_loss, .. } = self.options;
        if layer == Some(EnhancementLayer::Fel)
            && !allow_fel_loss
            && let Some(loss) = dolby::fel_loss(rpu.source_max_pq(), base_nits)
        {
            return Err(loss);
        }
        dolby::convertible(rpu.profile())?;
        let before = nal.to_vec();
        if rpu.profile() == 8 && !rpu.has_residual_mapping() {
            return Ok(Last { after: before.clone(), before, layer });
        }
        rpu.make_81()?;
        Ok(Last { after: rpu.write()?, before, layer })
    }
}
