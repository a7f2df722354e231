//! The lists that stand before every input: containers, decoders, sizes.

use crate::args::Args;
use crate::still::StillFormat;

/// Containers of moving pictures and sound that may be opened.
///
/// The list is what stops a playlist (HLS, DASH, ffconcat, SDP…) that is named
/// `film.mp4` from making FFmpeg read other files, and an image name with
/// `%03d` from standing for many.
const CONTAINERS: &str = "mov,matroska,mpegts,mpegtsraw,mpeg,mpegvideo,avi,asf,flv,live_flv,ogg,mxf,\
    gxf,nut,nsv,rm,wtv,dv,ivf,obu,av1,h264,hevc,vvc,m4v,vc1,vc1test,h263,cavsvideo,yuv4mpegpipe,\
    gif,apng,wav,w64,flac,mp3,aac,ac3,eac3,dts,dtshd,truehd,mlp,aiff,caf,amr,amrnb,amrwb,au,ape,wv,\
    tta,tak,mpc,mpc8,dsf,iff,voc";

/// Decoders that may be opened, by FFmpeg's names: what cameras, discs,
/// broadcasters, the web and editors write. The several hundred others (games
/// of the nineties, screen recorders, formats that one camera had) are where
/// flaws stay unseen for longest; a file that needs one is refused by name.
const DECODERS: &str = "h264,hevc,vvc,libdav1d,libaom-av1,av1,vp8,vp9,libvpx,libvpx-vp9,\
    mpeg1video,mpeg2video,mpegvideo,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4,h261,h263,h263p,flv,\
    wmv1,wmv2,wmv3,vc1,theora,vp6,vp6a,vp6f,svq3,prores,dnxhd,cfhd,dvvideo,ffv1,huffyuv,ffvhuff,\
    rawvideo,v210,v410,r210,qtrle,mjpeg,png,apng,gif,bmp,tiff,webp,\
    aac,aac_fixed,aac_latm,ac3,ac3_fixed,eac3,dca,truehd,mlp,flac,alac,opus,libopus,vorbis,\
    libvorbis,mp1,mp1float,mp2,mp2float,mp3,mp3float,wmav1,wmav2,wmapro,wmalossless,wavpack,ape,\
    tta,tak,mpc7,mpc8,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,speex,libspeex,g722,g726,\
    gsm,gsm_ms,s302m,dvaudio,dsd_lsbf,dsd_msbf,dsd_lsbf_planar,dsd_msbf_planar,\
    adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_u8,pcm_s8,\
    pcm_s8_planar,pcm_s16le,pcm_s16be,pcm_s16le_planar,pcm_s16be_planar,pcm_u16le,pcm_u16be,\
    pcm_s24le,pcm_s24be,pcm_s24le_planar,pcm_u24le,pcm_u24be,pcm_s32le,pcm_s32be,\
    pcm_s32le_planar,pcm_u32le,pcm_u32be,pcm_s64le,pcm_s64be,pcm_f16le,pcm_f24le,pcm_f32le,\
    pcm_f32be,pcm_f64le,pcm_f64be,\
    ssa,ass,srt,subrip,text,mov_text,webvtt,dvbsub,dvdsub,pgssub,xsub,cc_dec,libzvbi_teletextdec";

/// Most pixels of a picture: 8192×8192.
const PIXELS: &str = "67108864";

/// Most streams of a file.
const STREAMS: &str = "200";

/// Options that go before every `-i` of a source, of `ffprobe` and `ffmpeg`
/// alike: only local files, only containers and decoders of the lists, only
/// sane sizes.
#[must_use]
pub fn input_guard() -> &'static [&'static str] {
    if left_out() { OPEN } else { GUARD }
}

/// With the options that go before the `-i` of a still picture: it is opened as
/// what its first bytes say, and as nothing else.
pub(crate) fn still_guard(args: Args, format: StillFormat) -> Args {
    args.words("-protocol_whitelist file")
        .option("-format_whitelist", format.demuxer())
        .option("-codec_whitelist", DECODERS)
        .option("-max_pixels", PIXELS)
        .option("-max_streams", STREAMS)
        .option("-f", format.demuxer())
}

const GUARD: &[&str] = &[
    "-protocol_whitelist",
    "file",
    "-format_whitelist",
    CONTAINERS,
    "-codec_whitelist",
    DECODERS,
    "-max_pixels",
    PIXELS,
    "-max_streams",
    STREAMS,
];

/// For the test that the cage alone holds: everything may be opened.
const OPEN: &[&str] = &["-protocol_whitelist", "file,http,tcp,udp,rtp,crypto,data"];

/// Whether a test wants the lists left out. Never in release builds.
fn left_out() -> bool {
    cfg!(debug_assertions) && std::env::var("REELMILL_MUTANT").is_ok_and(|name| name == "lists")
}

/// The decoder that FFmpeg was refused, in a line such as
/// `[magicyuv @ 0x55] Codec (magicyuv) not on whitelist 'h264,…'`.
#[must_use]
pub(crate) fn refused_decoder(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(") not on whitelist")?;
    before.rsplit_once("Codec (").map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_no_doubles_and_no_spaces() {
        for list in [CONTAINERS, DECODERS] {
            let mut names: Vec<&str> = list.split(',').collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all);
            assert!(!list.contains(' '), "{list}");
        }
    }

    #[test]
    fn the_refused_decoder_is_named() {
        let line = "[magicyuv @ 0x5586] Codec (magicyuv) not on whitelist 'h264,hevc'";
        assert_eq!(refused_decoder(line), Some("magicyuv"));
        assert_eq!(refused_decoder("[srt @ 0x5] Format not on whitelist 'mov'"), None);
    }
}
