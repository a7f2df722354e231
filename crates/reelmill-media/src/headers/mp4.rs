//! MP4 and QuickTime: the movie box (ISO 14496-12), unless it is fragmented.

use super::Parts;
use super::boxes::{FileBox, all, be, find, inner, next};
use super::mp4_track::{Kind, Track};
use super::window::{Look, Window, unsure};
use reelmill_core::facts::made_by;
use std::collections::BTreeMap;

/// Brands of still pictures, which have a reader of their own.
const STILL: [&[u8; 4]; 6] = [b"heic", b"heix", b"mif1", b"hevc", b"avif", b"avis"];

/// What the file's headers tell.
pub(super) fn parts(file: &mut Window) -> Look<Parts> {
    let top = all(file, 0, file.len)?;
    if find(&top, b"moof").is_some() || find(&top, b"styp").is_some() {
        return unsure("it is fragmented");
    }
    if let Some(brand) = find(&top, b"ftyp") {
        let brand = file.upto(brand.content, 4)?;
        if STILL.iter().any(|still| brand == *still) {
            return unsure("a still picture");
        }
    }
    let Some(movie) = find(&top, b"moov") else {
        return unsure("no movie box");
    };
    if find(&top, b"mdat").is_none() {
        return unsure("its media data is missing");
    }
    let boxes = movie.boxes(file)?;
    if find(&boxes, b"mvex").is_some() || find(&boxes, b"cmov").is_some() {
        return unsure("it is fragmented or its index is packed");
    }
    let Some(header) = find(&boxes, b"mvhd") else {
        return unsure("no movie header");
    };
    let duration = movie_duration(&header.read(file)?)?;
    let mut tracks = Vec::new();
    for one in boxes.iter().filter(|one| one.kind == *b"trak") {
        tracks.push(Track::read(file, *one)?);
    }
    let chapters: Vec<u32> = tracks.iter().flat_map(|track| track.chapters.clone()).collect();
    tracks.retain(|track| !chapters.contains(&track.id));
    let mut parts = Parts {
        format: "mov,mp4,m4a,3gp,3g2,mj2",
        duration_micros: Some(duration),
        ..Parts::default()
    };
    for track in tracks {
        parts.made_by = parts.made_by.or(track.mark);
        match track.kind {
            Kind::Video(shown) if parts.video.is_none() => parts.video = Some(shown),
            Kind::Video(other) => {
                if let Some(main) = &mut parts.video {
                    main.beside(&other);
                }
            }
            Kind::Data => {}
            Kind::Audio(facts) => parts.audio.push(facts),
            Kind::Subtitle(facts) => parts.subtitles.push(facts),
        }
    }
    if let Some(user) = find(&boxes, b"udta") {
        parts.made_by = mark(file, user)?.or(parts.made_by);
    }
    Ok(parts)
}

/// Whether a track is encrypted: by Common Encryption (ISO 23001-7) or by iTunes.
pub(super) fn encrypted(file: &mut Window) -> Look<bool> {
    const ENTRIES: [&[u8; 4]; 4] = [b"encv", b"enca", b"drms", b"drmi"];
    let mut at = 0;
    let movie = loop {
        match next(file, at, file.len)? {
            Some(found) if found.kind == *b"moov" => break found,
            Some(found) => at = found.end,
            None => return Ok(false),
        }
    };
    let tracks = movie.boxes(file)?.into_iter().filter(|one| one.kind == *b"trak");
    for mut place in tracks {
        let mut described = true;
        for step in [b"mdia", b"minf", b"stbl", b"stsd"] {
            let Some(next) = find(&place.boxes(file)?, step) else {
                described = false;
                break;
            };
            place = next;
        }
        let description = if described { place.read(file)? } else { Vec::new() };
        let entries = description.get(8..).map(inner).unwrap_or_default();
        if entries.iter().any(|(kind, _)| ENTRIES.contains(&kind)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Microseconds, rounded as FFmpeg rounds them.
fn movie_duration(data: &[u8]) -> Look<u64> {
    let long = data.first() == Some(&1);
    let (clock, duration, matrix) = if long { (20, 24, 48) } else { (12, 16, 36) };
    let width = if long { 8 } else { 4 };
    let (Some(scale), Some(ticks), Some(matrix)) = (
        data.get(clock..clock + 4),
        data.get(duration..duration + width),
        data.get(matrix..matrix + 36),
    ) else {
        return unsure("a short movie header");
    };
    let (scale, ticks) = (be(scale), be(ticks));
    let (one, end) = (1u64 << 16, 1u64 << 30);
    let identity = matrix.chunks(4).map(be).eq([one, 0, 0, 0, one, 0, 0, 0, end]);
    if scale == 0 || ticks == 0 || ticks >= 1 << 44 || (!long && ticks == 0xffff_ffff) {
        return unsure("no duration in its headers");
    }
    if !identity {
        return unsure("the whole movie is transformed");
    }
    Ok(((u128::from(ticks) * 1_000_000 + u128::from(scale) / 2) / u128::from(scale)) as u64)
}

/// The mark among the movie's keywords, or the program that wrote it: `keyw` and
/// `©too` in iTunes' list, `©key` in QuickTime's.
fn mark(file: &mut Window, user: FileBox) -> Look<Option<String>> {
    let mut tags = BTreeMap::new();
    for one in user.boxes(file)? {
        if one.kind == *b"\xa9key" {
            let data = one.read(file)?;
            tags.insert("keywords".into(), text(data.get(4..)));
        }
        if one.kind != *b"meta" {
            continue;
        }
        let data = one.read(file)?;
        let list = data.get(4..).map(inner).unwrap_or_default();
        for (_, list) in list.iter().filter(|(kind, _)| kind == b"ilst") {
            for (kind, item) in inner(list) {
                let name = match &kind {
                    b"keyw" => "keywords",
                    b"\xa9too" => "encoder",
                    _ => continue,
                };
                let value = inner(item).into_iter().find(|(kind, _)| kind == b"data");
                tags.insert(name.into(), text(value.and_then(|(_, data)| data.get(8..))));
            }
        }
    }
    Ok(made_by(&tags))
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
