//! The HTML report in a real browser: a headless Chromium loads the page, runs its script and tells what it drew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests

mod browser;
mod story;

use browser::{Chromium, Scheme};
use simulator::report::html;
use simulator::report::terminal::{Channel, Terminal};
use simulator::run::{Leave, Place, RunOptions, run};
use simulator::timeline::Timeline;

/// The page after its scripts ran; `None` (and a line that says so) when there is no browser.
fn drawn(timeline: &Timeline, scheme: Scheme) -> Option<String> {
    let chromium = Chromium::find()?;
    // A browser that just started may draw the page before its window has the size asked for, and only rows in sight are
    // drawn: here the sight does not depend on the window.
    let page = html::render(timeline).replacen(
        "</head>",
        "<style>#stage { height: 900px !important; max-height: none !important; }</style></head>",
        1,
    );
    Some(chromium.dump(&page, scheme))
}

/// The value of an attribute of the root element, where the page's script writes what it drew.
fn told<'p>(page: &'p str, name: &str) -> &'p str {
    let (_, root) = page.split_once("<html").unwrap();
    let (root, _) = root.split_once('>').unwrap();
    let start = format!("data-{name}=\"");
    root.split_once(&start).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(value, _)| value)
}

#[test]
fn lanes_markers_and_the_failure_are_drawn_in_light_and_dark() {
    for (scheme, name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
        let Some(page) = drawn(&story::mixed(), scheme) else {
            return;
        };
        assert_eq!(told(&page, "check"), "ok", "{name}");
        assert_eq!(told(&page, "scheme"), name);
        assert_eq!(told(&page, "ready"), "8 GPU lanes, 15 pod lanes, 17 events, 1 failures");
        assert_eq!(page.matches("class=\"row gpu").count(), 8);
        assert!(page.matches("class=\"row pod").count() >= 10);
        assert_eq!(page.matches("class=\"gutter depth-0\"").count(), 4, "three nodes and the pods");
        for part in [
            "class=\"hold",
            "data-pod=\"shared-1\"",
            "veil draining",
            "veil converting",
            "veil ill",
            "span lost",
            "class=\"area\"",
            "class=\"band\"",
            "class=\"line failed\"",
            "pin label",
            "pin fault",
            "step expect ok",
            "step expect bad",
            "gpu-2: default → mps-config",
            "gpu-1: GPU 3 is lost",
            "&lt;b&gt;bold&lt;/b&gt;",
            "  - expected  \"Running\"",
            "class=\"row gpu concerned",
        ] {
            assert!(page.contains(part), "{name}: `{part}` is not in the page");
        }
        assert!(!page.contains("<b>bold</b>"), "text of a scenario is text");
    }
}

/// A story on the model stage with everything that a page is to show; its last expectation fails.
const TROUBLE: &str = "\
story: sharers, a curve, a flip that drains, a lost GPU, and an expectation that fails
timers: {nodeStatusUpdate: 200ms, termination: 100ms}
nodes:
- {name: gpu-1, gpus: {board: tesla-t4, count: 2}, labels: {nvidia.com/device-plugin.config: sliced}}
configs:
  default: 'version: v1'
  sliced: 'version: v1

    sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}'
steps:
- apply:
  - count: 4
    manifest: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: {limits: {nvidia.com/gpu: 1}}}]}}
- expect: {within: 60s, phases: {exactly: {Running: 4}}}
- workload: {pods: ['p-*'], memory: {from: 100, to: 3000, over: 4s}, compute: 30}
- wait: 3s
- label: {node: gpu-1, set: {nvidia.com/device-plugin.config: default}}
- expect: {within: 30s, nodes: {gpu-1: {gpus: {each: {state: draining}}}}}
- wait: 3s
- fault: {kind: gpuLost, node: gpu-1, gpu: 1, lasts: 2s}
- wait: 5s
- expect: {within: 1s, nodes: {gpu-1: {gpus: {0: {holders: [nobody]}}}}}
";

#[test]
fn a_run_on_the_model_stage_shows_memory_health_draining_faults_flips_and_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = simulator::scenario::read_text("trouble.yaml", TROUBLE).unwrap();
    let options = RunOptions { seed: 3, keep: false, runs_root: dir.path().to_owned(), leave: Leave::Always };
    let (_nobody_stops_it, stop) = tokio::sync::watch::channel(false);
    let mut view = Terminal::new(Channel::Quiet);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = run(&scenario, Place::Model, &options, &mut view, stop, None);
    let report = runtime.block_on(run).unwrap();
    assert!(!report.passed());
    let page = std::fs::read_to_string(report.run_dir.join("report.html")).unwrap();
    if let Ok(directory) = std::env::var("REPORT_DIR") {
        std::fs::write(std::path::Path::new(&directory).join("model.html"), &page).unwrap();
    }
    for part in ["https://", " src="] {
        assert!(!page.contains(part), "the page is to need nothing else: `{part}`");
    }
    let Some(chromium) = Chromium::find() else { return };
    for (scheme, name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
        let drawn = chromium.dump(&page, scheme);
        assert_eq!(told(&drawn, "check"), "ok", "{name}");
        for part in [
            "data-pod=\"p-1\"",
            "class=\"area\"",
            "veil draining",
            "veil ill",
            "pin fault",
            "class=\"line failed\"",
            "gpu-1: sliced → default",
            "class=\"row gpu concerned",
            "nobody",
        ] {
            assert!(drawn.contains(part), "{name}: `{part}` is not in the page");
        }
    }
}

#[test]
fn keys_wheel_drag_filter_and_theme_do_what_they_say() {
    let Some(chromium) = Chromium::find() else { return };
    // A browser without a screen draws few frames or none: here a frame comes whenever one is asked for.
    let frames = "<head><script>window.requestAnimationFrame = (draw) => setTimeout(draw, 1);</script>";
    let visitor = format!("<script>{}</script></body>", include_str!("story/visitor.js"));
    let page = html::render(&story::mixed()).replacen("<head>", frames, 1).replace("</body>", &visitor);
    let page = chromium.dump(&page, Scheme::Light);
    assert_eq!(told(&page, "check"), "ok");
    for (what, expected) in [
        ("key-zoom", "8.65 s shown, then 5.19 s shown, then 8.65 s shown"),
        ("wheel-zoom", "nearer around the pointer"),
        ("range", "the range of the drag"),
        ("pan", "moved, as long as before"),
        ("filter", "1 GPU lanes, 1 pod lanes, 0 events"),
        ("node-filter", "gpu-1, then all"),
        ("fold", "0 GPU lanes folded, 8 unfolded"),
        ("walk", "gpu-1 · GPU 0 spoken"),
        ("tip", "pod exclusive-1 pointed at, its other bars highlighted"),
        ("click", "details of the bar kept"),
        ("event", "details kept, list marked"),
        ("failure", "failing step chosen and in view"),
        ("theme", "light, then dark, then as the system"),
    ] {
        assert_eq!(told(&page, what), expected, "{what}");
    }
}

#[test]
fn a_cluster_of_200_gpus_starts_folded_and_draws_only_what_is_in_sight() {
    let Some(page) = drawn(&story::large(25, 8, 1000), Scheme::Light) else {
        return;
    };
    assert_eq!(told(&page, "check"), "ok");
    assert!(told(&page, "ready").starts_with("200 GPU lanes, 1000 pod lanes"), "{}", told(&page, "ready"));
    let rows: usize = told(&page, "drawn").split(' ').next().unwrap().parse().unwrap();
    assert!((5..100).contains(&rows), "{}", told(&page, "drawn"));
    assert!(page.contains("class=\"stripe"), "folded nodes show a stripe per GPU");
    assert!(!page.contains("class=\"row gpu"), "no GPU has a lane of its own before its node is unfolded");
}

#[test]
fn a_run_in_which_nothing_happened_is_drawn_too() {
    let Some(page) = drawn(&Timeline::default(), Scheme::Dark) else {
        return;
    };
    assert_eq!(told(&page, "check"), "ok");
    assert_eq!(told(&page, "ready"), "0 GPU lanes, 0 pod lanes, 0 events, 0 failures");
}

#[test]
fn a_record_that_cannot_be_read_is_said_on_the_page() {
    let Some(chromium) = Chromium::find() else { return };
    let page = html::render(&story::mixed()).replace("id=\"timeline\">{", "id=\"timeline\">broken {");
    let page = chromium.dump(&page, Scheme::Light);
    assert!(page.contains("The timeline could not be drawn"), "the reader is told");
    assert!(page.contains("  - expected  \"Running\""), "what is plain HTML is still there");
}

/// Writes the pages of these tests for a look at them: `REPORT_DIR=… cargo test -p simulator --test html_report -- --ignored`.
#[test]
#[ignore = "writes pages for people"]
fn pages_for_a_look() {
    let directory =
        std::path::PathBuf::from(std::env::var("REPORT_DIR").expect("REPORT_DIR names a directory"));
    for (name, timeline) in [("mixed", story::mixed()), ("large", story::large(25, 8, 1000))] {
        std::fs::write(directory.join(format!("{name}.html")), html::render(&timeline)).unwrap();
    }
}
