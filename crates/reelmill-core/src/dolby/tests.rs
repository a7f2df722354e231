//! What is known of Dolby Vision in general; what is decided is tested with HDR.

use super::*;

#[test]
fn codes_are_the_nits_that_the_standard_lists() {
    assert!((nits(3079) - 1000.0).abs() < 5.0, "{}", nits(3079));
    assert!((nits(3696) - 4000.0).abs() < 20.0, "{}", nits(3696));
    assert!(fel_loss(Some(3696), Some(1000)).is_some());
    assert!(fel_loss(Some(3079), Some(1000)).is_none());
    assert!(fel_loss(None, Some(1000)).is_none() && fel_loss(Some(3696), None).is_none());
}

#[test]
fn levels_are_those_of_the_reference() {
    let film = 24_000.0 / 1001.0;
    let of = |width, height, fps| level((width, height), fps);
    assert_eq!([of(640, 360, film), of(1280, 720, 24.0), of(1920, 1080, film)], [1, 1, 3]);
    assert_eq!([of(1920, 1080, 30.0), of(1920, 1080, 60.0)], [4, 5]);
    assert_eq!([of(3840, 2160, film), of(3840, 2160, 30.0)], [6, 7]);
    assert_eq!([of(3840, 2160, 48.0), of(3840, 2160, 60.0)], [8, 9]);
}

#[test]
fn only_what_has_an_hdr10_base_is_converted() {
    assert!(convertible(7).is_ok() && convertible(8).is_ok());
    let five = convertible(5).unwrap_err();
    assert!(five.message.contains("Profile 5 has no HDR10 base layer"), "{five}");
    assert!(convertible(4).is_err() && convertible(0).is_err());
}

#[test]
fn the_record_is_that_of_other_writers() {
    let kept = DolbyKept { stream: 0, convert: true, compatibility: 1, level: 6 };
    // As mkvmerge 74 writes it for 2160p24.
    assert_eq!(kept.record()[..6], [1, 0, 0x10, 0x35, 0x10, 0]);
    assert_eq!(record_7(6)[..6], [1, 0, 0x0E, 0x37, 0x60, 0]);
}
