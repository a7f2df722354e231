//! The plainest MP4 file that FFmpeg reads: one stream of HEVC with start codes,
//! one piece, every time exact. Nobody but our own FFmpeg ever sees it.

/// Where the size of the media is written, bytes from the start.
pub(super) const SIZE_AT: u64 = 24;

/// Bytes before the media.
const START: u64 = 32;

/// What comes before the media; its size is written in the end.
pub(super) fn start() -> Vec<u8> {
    let mut bytes = boxed(b"ftyp", &[b"isom", &[0; 4][..]].concat());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(b"mdat");
    bytes.extend([0; 8]);
    bytes
}

/// What goes to [`SIZE_AT`] when there are `media` bytes.
pub(super) fn media_size(media: u64) -> [u8; 8] {
    (media + 16).to_be_bytes()
}

/// The index of packets in stored order, shown at `times` (ticks, `scale` a
/// second; those of the numbers `keys` can be started with), and by how many
/// ticks it shows them late. `None` when a distance does not fit.
pub(super) fn index(
    scale: u32,
    times: &[i64],
    sizes: &[u32],
    keys: &[u32],
) -> Option<(Vec<u8>, i64)> {
    let mut decoded = times.to_vec();
    decoded.sort_unstable();
    let first = *decoded.first()?;
    let late = decoded.iter().zip(times).map(|(at, shown)| at - shown).max()?.max(0);
    // The clock of the file begins with the first packet.
    let waits = decoded.iter().zip(times).map(|(at, shown)| u32::try_from(shown + late - at));
    let waits: Vec<u32> = waits.collect::<Result<_, _>>().ok()?;
    let steps = decoded.windows(2).map(|pair| u32::try_from(pair[1] - pair[0]));
    let mut steps: Vec<u32> = steps.collect::<Result<_, _>>().ok()?;
    steps.push(1);
    let table = |kind: &[u8; 4], values: &[u32]| {
        let rows = values.iter().flat_map(|value| [1, *value]);
        full(kind, 0, [values.len() as u32].into_iter().chain(rows))
    };
    let stbl = [
        full(b"stsd", 0, [1]),
        entry(),
        table(b"stts", &steps),
        table(b"ctts", &waits),
        full(b"stss", 0, [keys.len() as u32].into_iter().chain(keys.iter().copied())),
        full(b"stsc", 0, [1, 1, sizes.len() as u32, 1]),
        full(b"stsz", 0, [0, sizes.len() as u32].into_iter().chain(sizes.iter().copied())),
        full(b"co64", 0, [1, 0, START as u32]),
    ];
    let stbl = described(stbl);
    let minf = boxed(b"minf", &[full(b"vmhd", 1, [0, 0]), boxed(b"stbl", &stbl)].concat());
    let media = [
        full(b"mdhd", 0, [0, 0, scale, 0, 0]),
        full(b"hdlr", 0, [0, u32::from_be_bytes(*b"vide"), 0, 0, 0, 0]),
        minf,
    ];
    let header = full(b"tkhd", 7, [0, 0, 1, 0].into_iter().chain([0; 16]));
    let track = boxed(b"trak", &[header, boxed(b"mdia", &media.concat())].concat());
    let movie = full(b"mvhd", 0, [0, 0, scale].into_iter().chain([0; 22]));
    let bytes = boxed(b"moov", &[movie, track].concat());
    Some((bytes, late - first))
}

/// The boxes, the second put into the first.
fn described(boxes: [Vec<u8>; 8]) -> Vec<u8> {
    let [list, entry, rest @ ..] = boxes;
    let mut bytes = boxed(b"stsd", &[&list[8..], &entry].concat());
    bytes.extend(rest.concat());
    bytes
}

/// A sample entry without a decoder record: the stream brings its own.
fn entry() -> Vec<u8> {
    let mut fields = [0; 78];
    fields[7] = 1;
    fields[24..28].copy_from_slice(&[0, 16, 0, 16]);
    fields[41] = 1;
    fields[75] = 24;
    boxed(b"hev1", &fields)
}

fn full(kind: &[u8; 4], flags: u32, words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let words = [flags].into_iter().chain(words);
    boxed(kind, &words.flat_map(u32::to_be_bytes).collect::<Vec<u8>>())
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() + 8) as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_begin_where_the_index_says() {
        assert_eq!(start().len() as u64, START);
        assert_eq!(&start()[20..24], b"mdat");
    }

    #[test]
    fn it_is_late_by_what_reordering_takes() {
        let (_, late) = index(24, &[10, 13, 11, 12], &[1; 4], &[1]).unwrap();
        // Decoded at 10, 11, 12, 13, the third is shown at 11: one tick later.
        assert_eq!(late, 1 - 10);
        assert!(index(24, &[], &[], &[]).is_none());
    }
}
