//! Files that stay as they are because nothing is to be had, and what conversions saved.

use super::folder::{convert, films, tiny};
use super::support::{Place, Ran, ffmpeg};
use serde_json::Value;
use std::path::Path;

fn query(place: &Place, root: &Path, args: &[&str]) -> Ran {
    let mut command = place.reelmill();
    command.arg("query").arg(root).args(args);
    Ran::of(&mut command).ok()
}

/// Files that `query` lists with these arguments.
fn listed(place: &Place, root: &Path, args: &[&str]) -> Vec<Value> {
    query(place, root, &[args, &["--json"]].concat()).events()
}

fn scan(place: &Place, root: &Path) {
    place.run(["scan".as_ref(), root.as_os_str()]).ok();
}

#[test]
fn a_file_that_comes_out_no_smaller_is_kept_for_every_machine_until_settings_change() {
    let place = Place::new();
    let root = films(&place);
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=128x72:rate=24:duration=1"];
    ffmpeg(&[&picture[..], &["-c:v", "libx264", "-crf", "45"]].concat(), &root.join("small.mkv"));
    scan(&place, &root);
    let rules = ["--preset", "lossless"];
    let with = |filter: &'static str| [&rules[..], &[filter]].concat();
    assert_eq!(listed(&place, &root, &with("--needs-conversion")).len(), 1);
    let args = ["--replace", "--json", "--preset", "lossless"];
    let ran = Ran::of(place.reelmill().arg("convert").arg("--dir").arg(&root).args(args)).ok();
    let line = &ran.events()[0];
    assert_eq!(line["result"], "skipped", "{}", ran.out);
    assert!(line["bytes_after"].as_u64() > line["bytes_before"].as_u64(), "{line}");
    let elsewhere = Place::new();
    scan(&elsewhere, &root);
    for place in [&place, &elsewhere] {
        assert!(listed(place, &root, &with("--needs-conversion")).is_empty());
        let kept = listed(place, &root, &with("--kept"));
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0]["verdict"]["why"], "no_smaller");
        assert_eq!(kept[0]["kept"]["bytes_after"], line["bytes_after"], "{}", kept[0]);
        let why = place
            .reelmill()
            .arg("query")
            .arg("--why")
            .arg(root.join("small.mkv"))
            .args(rules)
            .output();
        let why = String::from_utf8(why.unwrap().stdout).unwrap();
        let sizes = format!("{} bytes, the output {}", line["bytes_before"], line["bytes_after"]);
        assert!(why.contains("kept: the output was no smaller") && why.contains(&sizes), "{why}");
        let actions = listed(place, &root, &with("--by-action"));
        assert_eq!((actions.len(), &actions[0]["verdict"]["action"]), (1, &"kept".into()));
        assert_eq!(listed(place, &root, &with("--stats"))[0]["files"], 1);
    }
    let other = ["--preset", "lossless", "--set", "width=64"];
    assert_eq!(listed(&place, &root, &[&other[..], &["--needs-conversion"]].concat()).len(), 1);
    assert!(listed(&place, &root, &[&other[..], &["--kept"]].concat()).is_empty());
}

#[test]
fn what_was_saved_is_told_by_time_preset_and_machine() {
    let place = Place::new();
    let root = films(&place);
    let film = root.join("film.mkv");
    tiny(&film, 1);
    let before = std::fs::metadata(&film).unwrap().len();
    std::fs::write(root.join("bad.mkv"), "no film").unwrap();
    scan(&place, &root);
    let ran = Ran::of(&mut convert(&place, &root, &["--replace", "--json"]));
    assert_eq!(ran.code, 5, "{}", ran.out);
    let after = std::fs::metadata(&film).unwrap().len();
    assert!(after < before, "{}", ran.out);
    for by in ["day", "week", "month", "preset", "machine"] {
        let sums = listed(&place, &root, &["--stats", by]);
        assert_eq!(sums.len(), 2, "{by}: {sums:?}");
        assert_eq!((&sums[0]["by"], &sums[1]["sort"]), (&by.into(), &"all".into()));
        for sum in &sums {
            let bytes = ["bytes_before", "bytes_after", "bytes_saved"].map(|key| sum[key].as_u64());
            assert_eq!(bytes, [Some(before), Some(after), Some(before - after)], "{by}");
            assert_eq!((&sum["converted"], &sum["kept"]), (&1.into(), &0.into()));
        }
    }
    assert_eq!(listed(&place, &root, &["--stats", "preset"])[0]["sort"], "h264");
    let told = query(&place, &root, &["--history"]).out;
    assert!(told.contains("converted on") && told.contains("1 converted"), "{told}");
    place.run(["undo".as_ref(), film.as_os_str()]).ok();
    scan(&place, &root);
    let all = &listed(&place, &root, &["--stats", "saved"])[0];
    assert_eq!((&all["undone"], &all["bytes_saved"]), (&1.into(), &0.into()), "{all}");
    let rules = ["--preset", "h264", "--kept"];
    assert_eq!(listed(&place, &root, &rules)[0]["verdict"]["why"], "undone");
    assert_eq!(listed(&place, &root, &["--stats", "preset"])[0]["bytes_saved"], 0);

    // What this machine wrote while it could not write into the library is told as well.
    let records = root.join(".reelmill");
    let mark = std::fs::read(records.join("library.json")).unwrap();
    let mark: Value = serde_json::from_slice(&mark).unwrap();
    let ledger = std::fs::read_dir(records.join("history")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(ledger.path()).unwrap();
    let converted = text.lines().find(|line| line.contains("\"converted\"")).unwrap();
    let aside = place.path(&format!("state/{}.history", mark["library"].as_str().unwrap()));
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join(ledger.file_name()), format!("{converted}\n")).unwrap();
    for _ in 0..2 {
        let all = &listed(&place, &root, &["--stats", "saved"])[0];
        assert_eq!((&all["converted"], &all["undone"]), (&2.into(), &1.into()), "{all}");
    }
}
