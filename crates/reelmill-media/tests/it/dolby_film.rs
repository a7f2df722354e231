//! Films with Dolby Vision, made by x265 and the `dolby_vision` crate: small, and
//! every picture tells its number twice, in its pixels and in its metadata.
//!
//! They are made once for all tests, in the build folder.

use dolby_vision::rpu::ConversionMode;
use dolby_vision::rpu::dovi_rpu::DoviRpu;
use dolby_vision::rpu::extension_metadata::blocks::{
    ExtMetadataBlock, ExtMetadataBlockLevel1, ExtMetadataBlockLevel5, ExtMetadataBlockLevel6,
};
use dolby_vision::rpu::generate::{GenerateConfig, GenerateProfile, ShotFrameEdit, VideoShot};
use dolby_vision::rpu::vdr_dm_data::CmVersion;
use reelmill_media::hdr::access_unit::{self, AccessUnit};
use reelmill_media::hdr::nal::{self, NalKind};
use reelmill_media::hdr::order::shown;
use reelmill_media::hdr::sei::{Message, write as write_sei};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pictures of every film made here.
pub(crate) const FRAMES: usize = 60;

/// Rows and columns, bars included.
pub(crate) const SIZE: (u32, u32) = (256, 144);

/// Rows of each bar.
pub(crate) const BAR: u32 = 16;

/// What the first picture's metadata says of its brightest pixel; each further
/// one says one more.
pub(crate) const FIRST_PQ: u16 = 2081;

/// Side of a square that shows one bit of a picture's number.
const BIT: u32 = 16;

/// Which film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Profile 7 with a full enhancement layer.
    Fel,
    /// The same, mastered brighter than its base layer.
    BrightFel,
    /// Profile 7 with a minimal enhancement layer.
    Mel,
    /// Profile 7 (full) with HDR10+.
    Plus,
    /// Profile 5.
    Five,
    /// Profile 8.4 on HLG.
    Phone,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Fel => "fel",
            Self::BrightFel => "bright",
            Self::Mel => "mel",
            Self::Plus => "plus",
            Self::Five => "five",
            Self::Phone => "phone",
        }
    }

    fn has_layer(self) -> bool {
        !matches!(self, Self::Five | Self::Phone)
    }
}

/// A film's raw stream and the Matroska file with everything beside it.
#[derive(Debug, Clone)]
pub(crate) struct Film {
    /// The HEVC stream.
    pub hevc: PathBuf,
    /// The file.
    pub mkv: PathBuf,
    /// Base layer alone.
    pub base: PathBuf,
    /// Enhancement layer alone.
    pub layer: PathBuf,
}

/// The film of that kind, made if it is not there.
pub(crate) fn film(kind: Kind) -> Film {
    let folder = made(kind.name(), |folder| make(kind, folder));
    let at = |name: &str| folder.join(name);
    Film { hevc: at("film.hevc"), mkv: at("film.mkv"), base: at("base.hevc"), layer: at("el.hevc") }
}

/// The folder `name` of the build folder, filled by `make` once: other processes
/// that want it too wait.
pub(crate) fn made(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dolby-{:016x}", version()));
    std::fs::create_dir_all(&root).unwrap();
    let folder = root.join(name);
    let lock = std::fs::File::create(root.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !folder.is_dir() {
        let fresh = tempfile::tempdir_in(&root).unwrap();
        make(fresh.path());
        std::fs::rename(fresh.keep(), &folder).unwrap();
    }
    folder
}

/// Changes with this file, so that no stale film is used.
fn version() -> u64 {
    let text = include_str!("dolby_film.rs");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Runs a program in `dir`, its arguments being words; what it said.
#[expect(clippy::disallowed_methods, reason = "tests start the real tools")]
pub(crate) fn run(program: &str, dir: &Path, args: &str) -> String {
    let output =
        Command::new(program).args(args.split_whitespace()).current_dir(dir).output().unwrap();
    // mkvmerge ends with 1 when it has something to say.
    let fine =
        output.status.success() || (program == "mkvmerge" && output.status.code() == Some(1));
    assert!(fine, "{program} {args}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn make(kind: Kind, dir: &Path) {
    let transfer = match kind {
        Kind::Phone => "transfer=arib-std-b67:colorprim=bt2020:colormatrix=bt2020nc:",
        Kind::Five => "",
        _ => {
            "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc:hdr10=1:max-cll=1000,400:\
             master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
        }
    };
    encode(dir, &numbered(), &format!("{transfer}range=limited:"), "base.hevc");
    let mut layer = Vec::new();
    if kind.has_layer() {
        let picture = match kind {
            Kind::Mel => format!("color=black:s={}x{}:r=24000/1001", SIZE.0, SIZE.1),
            _ => format!("testsrc2=s={}x{}:r=24000/1001,eq=contrast=0.2", SIZE.0, SIZE.1),
        };
        encode(dir, &picture, "", "el.hevc");
        layer = units(&dir.join("el.hevc"));
    }
    let base = units(&dir.join("base.hevc"));
    let stream = interleaved(kind, &base, &layer);
    std::fs::write(dir.join("film.hevc"), stream).unwrap();
    beside(dir);
    let colours = match kind {
        Kind::Phone => {
            "--color-matrix 0:9 --color-transfer-characteristics 0:18 --color-primaries 0:9"
        }
        Kind::Five => "",
        _ => {
            "--color-matrix 0:9 --color-range 0:1 --color-transfer-characteristics 0:16 \
             --color-primaries 0:9 --max-content-light 0:1000 --max-frame-light 0:400 \
             --max-luminance 0:1000 --min-luminance 0:0.0001 \
             --chromaticity-coordinates 0:0.68,0.32,0.265,0.69,0.15,0.06 \
             --white-color-coordinates 0:0.3127,0.329"
        }
    };
    let args = format!(
        "-q -o film.mkv --title Film --default-duration 0:24000/1001p --track-name 0:Picture \
         --language 0:jpn {colours} film.hevc --sync 1:120 beside.mkv --chapters chapters.txt \
         --attachment-mime-type font/ttf --attach-file font.ttf"
    );
    run("mkvmerge", dir, &args);
}

/// A moving picture between bars, its number in squares at its top left.
fn numbered() -> String {
    let (width, height) = SIZE;
    let bits: String = (0..8)
        .map(|bit| {
            let x = bit * BIT;
            let step = 1 << bit;
            format!(
                ",drawbox=x={x}:y={BAR}:w={BIT}:h={BIT}:t=fill:color=black,\
                 drawbox=x={x}:y={BAR}:w={BIT}:h={BIT}:t=fill:color=white:\
                 enable='mod(floor(n/{step})\\,2)'"
            )
        })
        .collect();
    format!(
        "testsrc2=s={width}x{height}:r=24000/1001{bits},\
         drawbox=y=0:h={BAR}:t=fill:color=black,drawbox=y={}:h={BAR}:t=fill:color=black",
        height - BAR
    )
}

fn encode(dir: &Path, picture: &str, params: &str, name: &str) {
    let args = format!(
        "-nostdin -v error -y -f lavfi -i {picture} -frames:v {FRAMES} -pix_fmt yuv420p10le \
         -c:v libx265 -preset ultrafast -x265-params {params}log-level=error:crf=20:keyint=24:\
         min-keyint=24:scenecut=0:bframes=3:b-adapt=0:open-gop=1:aud=1:hrd=1:vbv-maxrate=9000:\
         vbv-bufsize=9000:repeat-headers=1:info=0:pools=1:frame-threads=1 -f hevc {name}"
    );
    run("ffmpeg", dir, &args);
}

/// Sound, subtitles and what else a film has beside its picture.
fn beside(dir: &Path) {
    std::fs::write(dir.join("s.srt"), "1\n00:00:00,500 --> 00:00:01,500\nHello\n").unwrap();
    std::fs::write(
        dir.join("chapters.txt"),
        "CHAPTER01=00:00:00.000\nCHAPTER01NAME=One\nCHAPTER02=00:00:01.000\nCHAPTER02NAME=Two\n",
    )
    .unwrap();
    std::fs::write(dir.join("font.ttf"), "not a font, but nobody looks").unwrap();
    let seconds = FRAMES as f64 * 1001.0 / 24_000.0;
    let args = format!(
        "-nostdin -v error -y -f lavfi -i sine=r=48000:d={seconds:.3} -f lavfi -i \
         sine=r=48000:f=300:d={seconds:.3} -i s.srt -map 0 -map 1 -map 2 -c:a:0 flac -c:a:1 ac3 \
         -c:s srt -metadata:s:a:0 title=Main -metadata:s:a:0 language=eng \
         -metadata:s:a:1 language=deu -metadata:s:s:0 language=fra -disposition:s:0 forced beside.mkv"
    );
    run("ffmpeg", dir, &args);
}

/// The access units of a stream, in coding order.
pub(crate) fn units(path: &Path) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    let mut take = |unit| {
        units.push(unit);
        Ok(())
    };
    access_unit::read_all(std::fs::File::open(path).unwrap(), &mut take).unwrap();
    units
}

/// Base layer, enhancement layer and metadata as discs' films have them.
fn interleaved(kind: Kind, base: &[AccessUnit], layer: &[AccessUnit]) -> Vec<u8> {
    let places: Vec<_> = base.iter().map(|unit| unit.place.unwrap()).collect();
    let order = shown(&places).unwrap();
    let rpus = rpus(kind);
    let mut stream = Vec::new();
    for (at, unit) in base.iter().enumerate() {
        let mut plus = (kind == Kind::Plus).then(|| hdr10_plus(order[at]));
        for nal in unit.nals() {
            if NalKind::of(nal).unwrap().is_slice()
                && let Some(sei) = plus.take()
            {
                nal::write(&sei, &mut stream).unwrap();
            }
            nal::write(nal, &mut stream).unwrap();
        }
        for nal in layer.get(at).iter().flat_map(|unit| unit.nals()) {
            nal::write(&[&[0x7E, 1], nal].concat(), &mut stream).unwrap();
        }
        nal::write(&rpus[order[at]], &mut stream).unwrap();
    }
    stream
}

/// HDR10+ metadata (profile A, one window) of picture `number`.
pub(crate) fn hdr10_plus(number: usize) -> Vec<u8> {
    let mut payload = vec![0xB5, 0x00, 0x3C, 0x00, 0x01, 0x04, 0x01];
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u32, count: u32| {
        bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    };
    put(1, 2);
    put(10_000, 27);
    put(0, 1);
    for component in [100, 200, number as u32] {
        put(component, 17);
    }
    put(50, 17);
    put(0, 4);
    put(0, 10);
    put(0, 1);
    put(0, 1);
    put(0, 1);
    payload.extend(bits.chunks(8).map(|byte| {
        byte.iter().enumerate().fold(0u8, |sum, (at, bit)| sum | u8::from(*bit) << (7 - at))
    }));
    write_sei(&[Message { kind: 4, payload }])
}

/// The metadata of each picture, in the order of being shown: NAL units.
pub(crate) fn rpus(kind: Kind) -> Vec<Vec<u8>> {
    let block = |number: usize| {
        ExtMetadataBlock::Level1(ExtMetadataBlockLevel1::new(
            0,
            FIRST_PQ + number as u16,
            1000 + number as u16,
        ))
    };
    let edits = (0..FRAMES)
        .map(|number| ShotFrameEdit { edit_offset: number, metadata_blocks: vec![block(number)] });
    let bright = kind == Kind::BrightFel;
    let config = GenerateConfig {
        cm_version: CmVersion::V29,
        profile: match kind {
            Kind::Five => GenerateProfile::Profile5,
            Kind::Phone => GenerateProfile::Profile84,
            _ => GenerateProfile::Profile81,
        },
        length: FRAMES,
        source_max_pq: Some(if bright { 3696 } else { 3079 }),
        level5: ExtMetadataBlockLevel5::from_offsets(0, 0, BAR as u16, BAR as u16),
        level6: Some(ExtMetadataBlockLevel6 {
            max_display_mastering_luminance: if bright { 4000 } else { 1000 },
            min_display_mastering_luminance: 1,
            max_content_light_level: 1000,
            max_frame_average_light_level: 400,
        }),
        shots: vec![VideoShot {
            duration: FRAMES,
            frame_edits: edits.collect(),
            ..VideoShot::default()
        }],
        ..GenerateConfig::default()
    };
    let list = config.generate_rpu_list().unwrap();
    list.into_iter().map(|rpu| finished(kind, rpu).write_hevc_unspec62_nalu().unwrap()).collect()
}

fn finished(kind: Kind, mut rpu: DoviRpu) -> DoviRpu {
    if !kind.has_layer() {
        return rpu;
    }
    rpu.convert_with_mode(ConversionMode::ToMel).unwrap();
    rpu.modified = true;
    let mapping = rpu.rpu_data_mapping.as_mut().unwrap();
    let curve = &mut mapping.curves[0];
    curve.pivots = vec![0, 400, 623];
    curve.num_pivots_minus2 = 1;
    let line = curve.polynomial.as_mut().unwrap();
    line.poly_order_minus1.push(line.poly_order_minus1[0]);
    line.linear_interp_flag.push(line.linear_interp_flag[0]);
    line.poly_coef_int.push(line.poly_coef_int[0]);
    line.poly_coef.push(line.poly_coef[0]);
    if kind != Kind::Mel {
        let residual = mapping.nlq.as_mut().unwrap();
        residual.nlq_offset = [512; 3];
        residual.linear_deadzone_slope = [2048; 3];
    }
    rpu
}
