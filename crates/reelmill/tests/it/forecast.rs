//! What a scan forecasts of conversions, held against what comes of them.

use super::support::{Place, ffmpeg};
use serde_json::Value;

#[test]
fn a_forecast_by_trial_is_close_to_what_comes_of_it_where_experience_is_far_off() {
    let place = Place::new();
    let root = place.path("films");
    std::fs::create_dir_all(root.join(".reelmill")).unwrap();
    // Noise: nobody's experience. Four chunks of what is tried, or one.
    for (name, seconds) in [("long.mkv", 10), ("short.mkv", 6)] {
        let picture =
            format!("testsrc2=s=128x72:r=24:d={seconds},noise=alls=30:allf=t,format=yuv420p");
        let fast = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-g", "24"];
        ffmpeg(&[&["-f", "lavfi", "-i", &picture][..], &fast].concat(), &root.join(name));
    }
    let rules =
        "[[rule]]\nname='all'\nwhen={kind='video'}\npreset='hevc'\nset=['speed=ultrafast']\n";
    std::fs::write(root.join(".reelmill/rules.toml"), rules).unwrap();
    let dir = root.to_str().unwrap();
    let planned = |more: &[&str]| -> Value {
        let ran = place.run([&["scan", dir, "--dry-run", "--json"][..], more].concat()).ok();
        ran.events().into_iter().find(|event| event["event"] == "plan").unwrap()
    };
    let bytes = |plan: &Value| plan["bytes_after"].as_u64().unwrap();
    let (usual, tried) = (planned(&[]), planned(&["--sample", "2"]));
    assert_eq!((&usual["tried"], &tried["tried"]), (&false.into(), &true.into()));
    assert_eq!(usual["files"], 2);
    assert_eq!(tried["tried_files"], 2, "{tried}");
    place.run(["scan", dir, "--enqueue", "--shared"]).ok();
    place.run(["convert", "--dir", dir, "--shared", "--queue", "--keep-bigger"]).ok();
    let size = |name: &str| std::fs::metadata(root.join(name)).unwrap().len();
    let real = size("long.hevc.mkv") + size("short.hevc.mkv");
    assert!(bytes(&tried).abs_diff(real) < real / 5, "{tried} for {real}");
    assert!(bytes(&usual) < real / 2, "{usual} for {real}");
    let before = usual["bytes"].as_u64().unwrap();
    assert_eq!(tried["bytes_saved"].as_u64().unwrap(), before - bytes(&tried));
}
