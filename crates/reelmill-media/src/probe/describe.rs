//! Turns ffprobe's JSON into media info, forgiving whatever is odd in it.

use reelmill_core::hdr::{ContentLight, MasteringDisplay};
use reelmill_core::media::{
    AudioInfo, Chapter, Colour, FieldOrder, Hdr, MediaInfo, Stream, StreamKind, VideoInfo,
};
use reelmill_core::time::TimeBase;
use serde_json::Value;
use std::collections::BTreeMap;

/// What `json` (of `-show_format -show_streams -show_chapters`) says of a file
/// of `size` bytes.
pub(super) fn media_info(json: &Value, size: u64) -> MediaInfo {
    let format = &json["format"];
    let streams: Vec<Stream> = list(json, "streams").iter().map(stream).collect();
    MediaInfo {
        format: text(format, "format_name").unwrap_or_default(),
        size,
        duration: seconds(format, "duration").or_else(|| longest(&streams)),
        start_micros: number(format, "start_time").map_or(0, |start| (start * 1e6).round() as i64),
        chapters: list(json, "chapters").iter().filter_map(chapter).collect(),
        tags: tags(format),
        streams,
    }
}

fn longest(streams: &[Stream]) -> Option<f64> {
    streams.iter().filter_map(|stream| stream.duration).max_by(f64::total_cmp)
}

fn stream(json: &Value) -> Stream {
    let tags = tags(json);
    Stream {
        index: whole(json, "index").unwrap_or_default(),
        codec: text(json, "codec_name").unwrap_or_else(|| "unknown".into()),
        profile: text(json, "profile"),
        time_base: time_base(json),
        start_ticks: json["start_pts"].as_i64(),
        duration: seconds(json, "duration").or_else(|| duration_tag(&tags)),
        bit_rate: whole(json, "bit_rate").or_else(|| tagged(&tags, "bps")?.parse().ok()),
        dispositions: dispositions(json),
        kind: kind(json),
        tags,
    }
}

fn kind(json: &Value) -> StreamKind {
    match json["codec_type"].as_str() {
        Some("video") if json["disposition"]["attached_pic"] == 1 => StreamKind::Cover(video(json)),
        Some("video") => StreamKind::Video(video(json)),
        Some("audio") => StreamKind::Audio(AudioInfo {
            sample_rate: whole(json, "sample_rate").unwrap_or_default(),
            channels: whole(json, "channels").unwrap_or_default(),
            layout: text(json, "channel_layout"),
        }),
        Some("subtitle") => StreamKind::Subtitle,
        Some("attachment") => StreamKind::Attachment,
        _ => StreamKind::Data,
    }
}

fn video(json: &Value) -> VideoInfo {
    let (rotation, mirrored) = orientation(json);
    VideoInfo {
        width: whole(json, "width").unwrap_or_default(),
        height: whole(json, "height").unwrap_or_default(),
        pixel_format: text(json, "pix_fmt").unwrap_or_default(),
        sample_aspect: ratio(json, "sample_aspect_ratio", ':'),
        frame_rate: ratio(json, "avg_frame_rate", '/').or_else(|| ratio(json, "r_frame_rate", '/')),
        field_order: field_order(json),
        rotation,
        mirrored,
        colour: Colour {
            range: named(json, "color_range"),
            space: named(json, "color_space"),
            transfer: named(json, "color_transfer"),
            primaries: named(json, "color_primaries"),
            chroma_location: named(json, "chroma_location"),
        },
        hdr: hdr(json),
        mastering: side_data(json, "Mastering display metadata").and_then(mastering),
        light: side_data(json, "Content light level metadata").and_then(light),
        hdr10plus: false,
        dolby_vision: None,
    }
}

/// FFmpeg names the field coded first, then the one shown first.
fn field_order(json: &Value) -> FieldOrder {
    match json["field_order"].as_str() {
        Some("tt" | "bt") => FieldOrder::TopFirst,
        Some("bb" | "tb") => FieldOrder::BottomFirst,
        _ => FieldOrder::Progressive,
    }
}

fn hdr(json: &Value) -> Hdr {
    let tag = json["codec_tag_string"].as_str().unwrap_or_default();
    if side_data(json, "DOVI configuration record").is_some()
        || ["dvh1", "dvhe", "dvav", "dva1", "dav1"].contains(&tag)
    {
        return Hdr::DolbyVision;
    }
    match json["color_transfer"].as_str() {
        Some("smpte2084") => Hdr::Hdr10,
        Some("arib-std-b67") => Hdr::Hlg,
        _ => Hdr::None,
    }
}

/// The mastering display in a piece of side data, if it says both colours and
/// luminance.
pub(super) fn mastering(data: &Value) -> Option<MasteringDisplay> {
    let scaled = |key: &str, unit: f64| {
        let (num, den) = data[key].as_str()?.split_once('/')?;
        let (num, den): (f64, f64) = (num.parse().ok()?, den.parse().ok()?);
        (den > 0.0 && num >= 0.0).then(|| (num / den * unit).round())
    };
    let point = |name: &str| {
        let part = |axis| Some(scaled(&format!("{name}_{axis}"), 50_000.0)?.min(65_535.0) as u16);
        Some((part("x")?, part("y")?))
    };
    let light = |key: &str| Some(scaled(key, 10_000.0)?.min(f64::from(u32::MAX)) as u32);
    let display = MasteringDisplay {
        red: point("red")?,
        green: point("green")?,
        blue: point("blue")?,
        white: point("white_point")?,
        max_luminance: light("max_luminance")?,
        min_luminance: light("min_luminance")?,
    };
    (display.max_luminance > 0).then_some(display)
}

/// The content light level in a piece of side data; zeros say nothing.
pub(super) fn light(data: &Value) -> Option<ContentLight> {
    let (max, average) = (whole(data, "max_content")?, whole(data, "max_average")?);
    (max > 0 || average > 0).then_some(ContentLight { max, average })
}

/// The display matrix as (clockwise turn, mirrored): the picture is first
/// mirrored left to right, if at all, then turned.
fn orientation(json: &Value) -> (i32, bool) {
    let Some(data) = side_data(json, "Display Matrix") else {
        return (0, false);
    };
    let mirrored = data["displaymatrix"].as_str().is_some_and(mirrors);
    // FFmpeg states where the picture's upper edge points, counter-clockwise;
    // mirroring has it point the other way.
    let turn = -number(data, "rotation").unwrap_or_default() + if mirrored { 180.0 } else { 0.0 };
    let quarters = (turn / 90.0).round() as i32;
    (quarters.rem_euclid(4) * 90, mirrored)
}

/// Whether the matrix, printed as three rows such as "00000000: 0 65536 0",
/// has a negative determinant.
fn mirrors(matrix: &str) -> bool {
    let rows: Vec<Vec<f64>> = matrix
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(_, row)| row.split_whitespace().filter_map(|n| n.parse().ok()).collect())
        .collect();
    match rows.as_slice() {
        [x, y, ..] if x.len() >= 2 && y.len() >= 2 => x[0] * y[1] - x[1] * y[0] < 0.0,
        _ => false,
    }
}

fn side_data<'a>(json: &'a Value, kind: &str) -> Option<&'a Value> {
    list(json, "side_data_list").iter().find(|data| data["side_data_type"] == kind)
}

fn chapter(json: &Value) -> Option<Chapter> {
    let start = number(json, "start_time")?;
    Some(Chapter {
        start,
        end: number(json, "end_time").unwrap_or(start),
        title: tags(json).remove("title"),
    })
}

fn dispositions(json: &Value) -> Vec<String> {
    let flags = json["disposition"].as_object();
    flags
        .into_iter()
        .flatten()
        .filter(|(_, set)| **set == 1)
        .map(|(name, _)| name.clone())
        .collect()
}

fn tags(json: &Value) -> BTreeMap<String, String> {
    let tags = json["tags"].as_object();
    tags.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.to_lowercase(), value.as_str()?.to_owned())))
        .collect()
}

/// A statistics tag, which mkvmerge may write with a language (`bps-eng`).
fn tagged<'a>(tags: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let english = format!("{name}-eng");
    tags.get(name).or_else(|| tags.get(&english)).map(String::as_str)
}

/// Matroska's "01:02:03.456000000".
fn duration_tag(tags: &BTreeMap<String, String>) -> Option<f64> {
    let mut total = 0.0;
    for part in tagged(tags, "duration")?.split(':') {
        total = total * 60.0 + part.parse::<f64>().ok()?;
    }
    positive(total)
}

fn time_base(json: &Value) -> Option<TimeBase> {
    json["time_base"].as_str()?.parse().ok()
}

fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value, key: &str) -> Option<String> {
    json[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A text other than FFmpeg's words for "unset".
fn named(json: &Value, key: &str) -> Option<String> {
    text(json, key).filter(|name| !["unknown", "unspecified", "reserved"].contains(&name.as_str()))
}

/// A number, whether written as one or as text.
fn number(json: &Value, key: &str) -> Option<f64> {
    let value = &json[key];
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then_some(number)
}

fn whole<T: std::str::FromStr>(json: &Value, key: &str) -> Option<T> {
    match &json[key] {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn seconds(json: &Value, key: &str) -> Option<f64> {
    number(json, key).and_then(positive)
}

fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

fn ratio(json: &Value, key: &str, separator: char) -> Option<(u32, u32)> {
    let (num, den) = json[key].as_str()?.split_once(separator)?;
    let ratio = (num.parse().ok()?, den.parse().ok()?);
    (ratio.0 > 0 && ratio.1 > 0).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(matrix: [i32; 4], rotation: i32) -> (i32, bool) {
        let [a, b, c, d] = matrix;
        let rows = format!(
            "\n00000000: {a:>12} {b:>12} 0\n00000001: {c:>12} {d:>12} 0\n00000002: 0 0 1073741824\n"
        );
        orientation(&json!({"side_data_list": [
            {"side_data_type": "Display Matrix", "displaymatrix": rows, "rotation": rotation},
        ]}))
    }

    #[test]
    fn turns_are_clockwise_and_mirrors_told() {
        let one = 65536;
        assert_eq!(of([one, 0, 0, one], 0), (0, false));
        assert_eq!(of([0, one, -one, 0], -90), (90, false), "phone held upright");
        assert_eq!(of([-one, 0, 0, -one], -180), (180, false));
        assert_eq!(of([0, -one, one, 0], 90), (270, false));
        assert_eq!(of([-one, 0, 0, one], -180), (0, true), "mirrored left to right");
        assert_eq!(of([one, 0, 0, -one], 0), (180, true), "mirrored top to bottom");
        assert_eq!(of([0, one, one, 0], -90), (270, true), "transposed");
    }

    #[test]
    fn odd_fields_are_left_out() {
        let json = json!({
            "format": {"format_name": "avi", "duration": "N/A", "start_time": {}},
            "streams": [
                {"codec_type": "video", "width": -1, "time_base": "0/0", "avg_frame_rate": "0/0",
                 "r_frame_rate": "25/1", "duration": "-3.0", "color_space": "unknown", "tags": 7},
                {"index": 1, "codec_type": "audio", "sample_rate": "x", "tags": {"DURATION": "00:01:02.5"}},
                {"index": 2},
                "nonsense",
            ],
            "chapters": [{"start_time": "1.0"}, {"tags": {"title": "lost"}}],
        });
        let info = media_info(&json, 5);
        assert_eq!(info.duration, Some(62.5));
        assert_eq!(info.streams.len(), 4);
        assert_eq!(info.chapters.len(), 1);
        let (stream, video) = info.video().unwrap();
        assert_eq!((stream.codec.as_str(), stream.time_base), ("unknown", None));
        assert_eq!((video.width, video.frame_rate), (0, Some((25, 1))));
        assert_eq!(video.colour, Colour::default());
        assert_eq!(info.streams[2].kind, StreamKind::Data);
    }

    #[test]
    fn the_kind_of_hdr_follows_from_side_data_and_transfer() {
        let dovi = json!({"color_transfer": "smpte2084",
            "side_data_list": [{"side_data_type": "DOVI configuration record", "dv_profile": 8}]});
        assert_eq!(hdr(&dovi), Hdr::DolbyVision);
        assert_eq!(hdr(&json!({"codec_tag_string": "dvh1"})), Hdr::DolbyVision);
        assert_eq!(hdr(&json!({"color_transfer": "smpte2084"})), Hdr::Hdr10);
        assert_eq!(hdr(&json!({"color_transfer": "arib-std-b67"})), Hdr::Hlg);
        assert_eq!(hdr(&json!({"color_transfer": "bt709"})), Hdr::None);
    }

    #[test]
    fn null_is_survived() {
        assert!(media_info(&Value::Null, 0).streams.is_empty());
    }
}
