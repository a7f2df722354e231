//! What a Matroska file says of itself before its packets.

use super::Refusal;
use super::ebml::{self, Child, child, children, number};
use super::input::{Head, Input};
use reelmill_core::error::Failure;
use std::path::Path;

/// Elements before the first cluster, beyond which a file is taken for odd.
const MAX_ELEMENTS: usize = 1000;

/// Four characters that say what a block addition mapping holds: Dolby Vision's
/// record in either form, and the enhancement layer's parameter sets.
const DOLBY_MAPPINGS: [&[u8; 4]; 3] = [b"dvcC", b"dvvC", b"hvcE"];

/// What precedes the packets.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Nanoseconds per tick of all timestamps.
    pub scale: u64,
    /// Seconds, as the file declares.
    pub duration: Option<f64>,
    /// The tracks, in file order.
    pub tracks: Vec<Track>,
}

/// A track.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// The number that its packets bear.
    pub number: u64,
    /// The number that tags and chapters name it by.
    pub uid: u64,
    /// Its codec, in Matroska's words.
    pub codec: String,
    /// Whether it is video.
    pub video: bool,
    /// What its decoder needs beforehand.
    pub codec_private: Vec<u8>,
    /// Nanoseconds of one frame, where declared.
    pub default_duration: Option<u64>,
    /// Width and height in pixels; zeros for what is no video.
    pub size: (u64, u64),
    /// Whether its packets are compressed or encrypted by the container.
    pub encoded: bool,
    /// The Dolby Vision record.
    pub dolby_record: Option<Vec<u8>>,
}

impl Header {
    /// The tracks of HEVC video.
    pub fn hevc(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| track.codec == "V_MPEGH/ISO/HEVC")
    }
}

impl Track {
    /// How many bytes state the length of each NAL unit in a packet.
    #[must_use]
    pub fn nal_length_bytes(&self) -> usize {
        self.codec_private.get(21).map_or(4, |byte| usize::from(byte & 3) + 1)
    }

    /// The parameter sets in the codec's private data.
    #[must_use]
    pub fn parameter_sets(&self) -> Vec<&[u8]> {
        let mut sets = Vec::new();
        let mut rest = self.codec_private.get(23..).unwrap_or_default();
        let arrays = self.codec_private.get(22).copied().unwrap_or_default();
        for _ in 0..arrays {
            let Some(([_, high, low], after)) = rest.split_first_chunk::<3>() else { break };
            rest = after;
            for _ in 0..u16::from_be_bytes([*high, *low]) {
                let Some((length, after)) = rest.split_first_chunk::<2>() else { return sets };
                let length = usize::from(u16::from_be_bytes(*length));
                let Some((set, after)) = after.split_at_checked(length) else { return sets };
                sets.push(set);
                rest = after;
            }
        }
        sets
    }
}

/// Reads what precedes the packets.
///
/// # Errors
/// When the file is no Matroska file, cut off, or odd.
pub fn header(path: &Path) -> Result<Header, Refusal> {
    let mut input = Input::open(path)?;
    input.segment()?;
    read(&mut input).map(|(header, _)| header)
}

/// Reads to the head of the first cluster, from the segment's content on.
pub(super) fn read(input: &mut Input) -> Result<(Header, Option<Head>), Refusal> {
    let mut header = Header { scale: 1_000_000, duration: None, tracks: Vec::new() };
    let mut content = Vec::new();
    for _ in 0..MAX_ELEMENTS {
        let Some(head) = input.head()? else {
            return Ok((header, None));
        };
        match head.id {
            ebml::CLUSTER => {
                if header.tracks.is_empty() {
                    return Refusal::odd("its tracks are described after its packets");
                }
                return Ok((header, Some(head)));
            }
            ebml::INFO => {
                input.take(head.known()?, &mut content)?;
                info(&content, &mut header);
            }
            ebml::TRACKS => {
                input.take(head.known()?, &mut content)?;
                let entries = children(&content).flatten().filter(|c| c.id == ebml::TRACK_ENTRY);
                header.tracks = entries.filter_map(|entry| track(entry.content)).collect();
            }
            _ => input.skip(head.known()?)?,
        }
    }
    Refusal::odd("too many elements come before its packets")
}

fn info(content: &[u8], header: &mut Header) {
    if let Some(scale) = child(content, ebml::TIMESTAMP_SCALE).and_then(number) {
        header.scale = scale.max(1);
    }
    let ticks = child(content, ebml::DURATION).and_then(ebml::float);
    header.duration = ticks.map(|ticks| ticks * header.scale as f64 / 1e9);
}

pub(super) fn track(entry: &[u8]) -> Option<Track> {
    let field = |id| child(entry, id);
    let whole = |id| field(id).and_then(number);
    let picture = field(ebml::VIDEO).unwrap_or_default();
    let pixels = |id| child(picture, id).and_then(number).unwrap_or_default();
    let mut records = children(entry).flatten().filter(|c| dolby_kind(c).is_some());
    Some(Track {
        number: whole(ebml::TRACK_NUMBER)?,
        uid: whole(ebml::TRACK_UID).unwrap_or_default(),
        codec: String::from_utf8_lossy(field(ebml::CODEC_ID)?).trim_end_matches('\0').to_owned(),
        video: whole(ebml::TRACK_TYPE) == Some(1),
        codec_private: field(ebml::CODEC_PRIVATE).unwrap_or_default().to_vec(),
        default_duration: whole(ebml::DEFAULT_DURATION),
        size: (pixels(ebml::PIXEL_WIDTH), pixels(ebml::PIXEL_HEIGHT)),
        encoded: field(ebml::CONTENT_ENCODINGS).is_some_and(|content| !content.is_empty()),
        dolby_record: records
            .find(|record| dolby_kind(record).is_some_and(|kind| kind != *b"hvcE"))
            .and_then(|record| child(record.content, ebml::BLOCK_ADD_ID_DATA))
            .map(<[u8]>::to_vec),
    })
}

/// Which kind of Dolby Vision mapping a child of a track entry is, if it is one.
fn dolby_kind(mapping: &Child<'_>) -> Option<[u8; 4]> {
    if mapping.id != ebml::BLOCK_ADDITION_MAPPING {
        return None;
    }
    let kind = child(mapping.content, ebml::BLOCK_ADD_ID_TYPE).and_then(number)?;
    let kind = u32::try_from(kind).ok()?.to_be_bytes();
    DOLBY_MAPPINGS.contains(&&kind).then_some(kind)
}

/// The track entry with `record` as its only Dolby Vision record.
pub(super) fn with_record(entry: &[u8], record: Option<&[u8; 24]>) -> Result<Vec<u8>, Failure> {
    let mut changed = Vec::with_capacity(entry.len() + 80);
    for child in children(entry) {
        let child = child.ok_or_else(|| Failure::input("a track's description is damaged"))?;
        if child.id != ebml::CRC && dolby_kind(&child).is_none() {
            changed.extend_from_slice(child.whole);
        }
    }
    if let Some(record) = record {
        // From profile 8 on the record goes by another name.
        let kind = if record[2] >> 1 > 7 { *b"dvvC" } else { *b"dvcC" };
        let mut mapping = Vec::new();
        ebml::element(ebml::BLOCK_ADD_ID_NAME, b"Dolby Vision configuration", &mut mapping);
        ebml::unsigned(ebml::BLOCK_ADD_ID_TYPE, u32::from_be_bytes(kind).into(), &mut mapping);
        ebml::element(ebml::BLOCK_ADD_ID_DATA, record, &mut mapping);
        ebml::element(ebml::BLOCK_ADDITION_MAPPING, &mapping, &mut changed);
    }
    Ok(changed)
}
