//! What goes over beside the pixels: colour profile and Exif data. FFmpeg
//! carries neither into every format.

use super::exif;
use super::format::StillFormat;
use img_parts::jpeg::Jpeg;
use img_parts::png::Png;
use img_parts::webp::WebP;
use img_parts::{Bytes, ImageEXIF, ImageICC};
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use std::path::Path;

/// What goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) profile: Option<Bytes>,
    pub(super) exif: Option<Bytes>,
    /// How the source's pixels lie, 1 to 8; the output's lie upright.
    pub(super) orientation: u8,
}

impl Carried {
    /// What stands in a picture of `format`.
    ///
    /// # Errors
    /// When the file is not of that format's form.
    pub(super) fn of(bytes: &[u8], format: StillFormat) -> Result<Self, Failure> {
        let copy = || Bytes::copy_from_slice(bytes);
        let (profile, exif) = match format {
            StillFormat::Jpeg => both(&Jpeg::from_bytes(copy()).map_err(damaged)?),
            StillFormat::Png | StillFormat::Apng => {
                both(&Png::from_bytes(copy()).map_err(damaged)?)
            }
            StillFormat::Webp => both(&WebP::from_bytes(copy()).map_err(damaged)?),
            StillFormat::Tiff => {
                let orientation = exif::orientation(bytes);
                let profile = exif::profile(bytes).map(Bytes::from);
                return Ok(Self { profile, exif: None, orientation });
            }
            StillFormat::Gif | StillFormat::Bmp | StillFormat::Avif => (None, None),
        };
        let orientation = exif.as_ref().map_or(1, |exif| exif::orientation(exif));
        let exif = exif.map(|exif| Bytes::from(exif::upright(exif.to_vec())));
        Ok(Self { profile, exif, orientation })
    }

    /// Whether there is a colour profile that says more than "sRGB", which goes
    /// without saying.
    pub(super) fn has_profile(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| {
            let named = |name: &[u8]| profile.windows(name.len()).any(|part| part == name);
            !named(b"sRGB") && !named(b"s\0R\0G\0B")
        })
    }

    /// Puts it into the picture at `out`.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is not what was encoded.
    pub(super) async fn put(&self, out: &Path, container: Container) -> Result<(), Failure> {
        let fail = |error| Failure::io(format_args!("write {}", out.display()), &error);
        let bytes = || async { tokio::fs::read(out).await.map(Bytes::from).map_err(fail) };
        let made = match container {
            Container::Jpeg => {
                let mut picture = Jpeg::from_bytes(bytes().await?).map_err(damaged)?;
                self.set(&mut picture);
                picture.encoder().bytes()
            }
            Container::Png => {
                let mut picture = Png::from_bytes(bytes().await?).map_err(damaged)?;
                self.set(&mut picture);
                picture.encoder().bytes()
            }
            Container::Webp => {
                let mut picture = WebP::from_bytes(bytes().await?).map_err(damaged)?;
                self.set(&mut picture);
                picture.encoder().bytes()
            }
            _ => return Ok(()),
        };
        tokio::fs::write(out, made).await.map_err(fail)
    }

    fn set(&self, picture: &mut (impl ImageICC + ImageEXIF)) {
        picture.set_icc_profile(self.profile.clone());
        picture.set_exif(self.exif.clone());
    }
}

fn both(picture: &(impl ImageICC + ImageEXIF)) -> (Option<Bytes>, Option<Bytes>) {
    (picture.icc_profile(), picture.exif())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn damaged(error: img_parts::Error) -> Failure {
    Failure::input(format!("the picture is damaged: {error}"))
        .advise("check that it looks right, or save it again")
}
