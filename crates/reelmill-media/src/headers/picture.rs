//! What a parameter set or a frame's header says of the picture.

use reelmill_core::facts::Chroma;

/// The picture as its codec describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    /// Pixels, as coded and cropped, before rotation.
    pub(super) width: u32,
    /// Pixels, as coded and cropped, before rotation.
    pub(super) height: u32,
    pub(super) chroma: Chroma,
    pub(super) bit_depth: u8,
    pub(super) transfer: Transfer,
}

/// How long a picture is, in seconds as a fraction (length, unit), where that is told.
pub(super) type Length = Option<(u32, u32)>;

/// Where the transfer characteristics (H.273) come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// The stream says so, whatever the container says; 2 is "unspecified".
    Stream(u32),
    /// The stream is silent: the container's word counts.
    Container,
}

/// Transfer "BT.2020, 10 bits", which a message in the stream may turn into HLG.
pub(super) const BT2020_10: u32 = 14;

/// 4:0:0, 4:2:0, 4:2:2, 4:4:4 as H.264 and H.265 number them.
pub(super) fn chroma(format: u32) -> Option<Chroma> {
    [Chroma::Gray, Chroma::C420, Chroma::C422, Chroma::C444].get(format as usize).copied()
}

/// Pixels of one cropping unit across and down.
pub(super) fn crop_unit(chroma: Chroma) -> (u32, u32) {
    match chroma {
        Chroma::C420 => (2, 2),
        Chroma::C422 => (2, 1),
        _ => (1, 1),
    }
}
