//! Fingerprints of video packets that do not depend on the container.

use crate::args::Args;
use crate::args::quiet;
use crate::encode::STALL;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use tokio_util::sync::CancellationToken;

/// The bitstream filter that brings a codec's packets to one form: as a stream
/// of units with start codes, without the units that some containers keep in
/// their headers (parameter sets, delimiters).
fn normalise(codec: &str) -> Option<&'static str> {
    match codec {
        "h264" => Some("filter_units=remove_types=7|8|9"),
        "hevc" => Some("filter_units=remove_types=32|33|34|35"),
        "av1" => Some("filter_units=remove_types=2"),
        _ => None,
    }
}

/// The column of a packet's hash; those of its side data come after it.
const HASH: usize = 5;

/// The fingerprint of each packet of the first video stream, in stored order.
pub(super) async fn packet_hashes(
    tools: &Tools,
    input: Args,
    codec: &str,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Failure> {
    let args = quiet()
        .arg("-copyts")
        .join(input)
        .words("-map 0:v:0 -c copy -copyinkf")
        .maybe("-bsf:v", normalise(codec))
        .words("-f framehash -hash murmur3 pipe:1");
    let mut hashes = Vec::new();
    let mut on_line = |line: &str| {
        if !line.starts_with('#')
            && let Some(hash) = line.split(',').nth(HASH)
        {
            hashes.push(hash.trim().to_owned());
        }
    };
    let command = tools.ffmpeg(args).stall_after(STALL);
    command.run_lines(cancel, &mut on_line).await?;
    Ok(hashes)
}
