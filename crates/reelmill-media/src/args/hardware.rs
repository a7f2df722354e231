//! What encoders in hardware need beyond their name: devices, pixels in their memory,
//! and a number for quality, each under a name of its own.

use super::Args;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::hardware::Hardware;
use std::path::Path;

/// How a kind of hardware is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way(Hardware);

/// The device that VAAPI is opened on: that of the first graphics processor.
const VAAPI_DEVICE: &str = "/dev/dri/renderD128";

impl Way {
    /// That of an encoder; `None` for software.
    #[must_use]
    pub fn of(encoder: VideoEncoder) -> Option<Self> {
        encoder.hardware().map(Self)
    }

    /// Options that open the device, before any input; the cage lets it through.
    #[must_use]
    pub fn device(self) -> Args {
        match self.0 {
            Hardware::Vaapi => Args::new().option("-vaapi_device", VAAPI_DEVICE).devices(),
            _ => Args::new().devices(),
        }
    }

    /// The filters that bring pictures of the format `pixels` (4:2:0) to the encoder,
    /// starting with a comma.
    #[must_use]
    pub fn upload(self, pixels: &str) -> String {
        let layout = if pixels.ends_with("10le") { "p010le" } else { "nv12" };
        let upload = if self.0 == Hardware::Vaapi { ",hwupload" } else { "" };
        format!(",format={layout}{upload}")
    }

    /// Options that ask for constant quality.
    #[must_use]
    pub fn quality(self, number: Option<f64>) -> Args {
        let number = number.unwrap_or(23.0).to_string();
        let args = Args::new();
        match self.0 {
            Hardware::Nvenc => args.words("-rc:v vbr -b:v 0").option("-cq:v", number),
            Hardware::Vaapi => args.words("-rc_mode:v CQP").option("-global_quality:v", number),
            Hardware::Amf => {
                args.words("-rc:v cqp").option("-qp_i:v", &number).option("-qp_p:v", &number)
            }
            Hardware::Videotoolbox => args.option("-q:v", number),
            Hardware::Qsv | Hardware::Auto | Hardware::Off => {
                args.option("-global_quality:v", number)
            }
        }
    }
}

/// Files that tell whether there is any hardware of this kind, where such files are.
#[must_use]
pub fn signs(kind: Hardware) -> &'static [&'static str] {
    match kind {
        Hardware::Nvenc => &["nvidiactl", "nvidia0", "dxg"],
        Hardware::Qsv | Hardware::Vaapi | Hardware::Amf => &["dri", "dxg"],
        Hardware::Videotoolbox | Hardware::Auto | Hardware::Off => &[],
    }
}

/// Where the system's devices lie.
pub const DEVICES: &str = "/dev";

/// Whether something in `devices` may be such hardware; elsewhere than on Linux only
/// a trial tells.
#[must_use]
pub fn may_be(kind: Hardware, devices: &Path) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    signs(kind).iter().any(|name| devices.join(name).exists())
}
