//! Scenario files are untrusted: whatever they hold ends in a sentence that names the limit, never in a panic or in memory
//! exhaustion.

use std::time::Duration;

use super::check::tests::{GOOD, WIDE, problems};
use super::{Choice, Verb, read_chosen, read_text};

#[test]
fn what_would_exhaust_memory_ends_in_the_name_of_its_limit() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: main}]}}";
    let many = |steps: &str| format!("story: s\nnodes: [{{name: n}}]\nsteps:\n{steps}");
    let item = format!("{{count: 1000, manifest: {pod}}}");
    let table = [
        (many(&format!("- apply: [{item}, {item}]\n")), "PODS_PER_STEP_MAX"),
        (many(&format!("- apply: [{item}]\n").repeat(21)), "PODS_MAX"),
        (many(&format!("- repeat: {{times: 900, steps: [{{apply: [{item}]}}]}}\n")), "PODS_MAX"),
        (many("- repeat: {times: 1000, steps: [{wait: 1s}, {wait: 1s}]}\n"), "STEPS_MAX"),
        (
            many("- parallel: [{wait: 1s}, {wait: 1s}]\n")
                .replace("{wait: 1s}", &["{wait: 1s}"; 600].join(", ")),
            "STEPS_MAX",
        ),
        ("story: s\nnodes: [{name: n, count: 1000}, {name: m}]\nsteps: [{wait: 1s}]".to_owned(), "NODES_MAX"),
        ("story: s\nnodes: [{name: n, count: 40}]\nsteps: [{wait: 1s}]".to_owned(), "WIRE_NODES_MAX"),
        (
            many(&format!("- workload: {{pods: [p], memory: [{}]}}\n", "[1s, 1],".repeat(1001))),
            "CURVE_POINTS_MAX",
        ),
    ];
    for (text, limit) in table {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(limit)), "{limit}: {found:#?}");
    }
    assert!(!problems(&"[".repeat(100_000)).is_empty());
}

#[test]
fn nesting_aliases_and_huge_numbers_end_in_a_sentence() {
    let bomb: String = (1..9)
        .map(|level| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(",")))
        .collect();
    let mut web =
        String::from("{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: ");
    web.push_str("1000000000, template: {spec: {containers: [{name: c}]}}}}");
    let many = |steps: &str| format!("story: s\nnodes: [{{name: n}}]\nsteps:\n{steps}");
    let documents = "---\n{}\n".repeat(101);
    let table = [
        (format!("story: {}{}\n", "[".repeat(33), "]".repeat(33)), "(DEPTH_MAX)"),
        (format!("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n{bomb}steps: *a8\n"), "(VALUES_MAX)"),
        (many(&format!("- apply: [{{manifest: {web}}}]\n")), "(PODS_PER_STEP_MAX)"),
        (
            many("- apply:\n  - manifest: |\n").to_owned()
                + &documents.replace("---", "      ---").replace("{}", "      {}"),
            "(DOCUMENTS_MAX)",
        ),
        (
            many(
                "- apply: [{count: 1000000000, manifest: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}}]\n",
            ),
            "from 1 to 1000, found 1000000000",
        ),
        (many("- wait: 1e300s\n"), "at most 3600s, found `1e300s`"),
        (many("- repeat: {times: 99999999999999999999999, steps: [{wait: 1s}]}\n"), "from 1 to 1000"),
        (many("- workload: {pods: [p], memory: [[0s, 9223372036854775807]]}\n"), "from 0 to 1048576"),
    ];
    for (text, expected) in table {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
}

#[test]
fn a_curve_file_names_its_own_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.yaml");
    let text = GOOD.to_owned() + "- workload: {pods: [p-1], memory: {file: c.csv}}\n";
    let found = |csv: &str| {
        std::fs::write(dir.path().join("c.csv"), csv).unwrap();
        match read_text(&file.display().to_string(), &text) {
            Ok(scenario) => Err(Box::new(scenario)),
            Err(problems) => Ok(problems.0.iter().map(ToString::to_string).collect::<String>()),
        }
    };
    let read = found("# sampled\nseconds,MiB\n0,100\n500ms,200\n\n2.5,50\n").unwrap_err();
    let Verb::Workload(work) = &read.steps.last().unwrap().verb else { panic!("{:?}", read.steps) };
    let ms = Duration::from_millis;
    assert_eq!(work.memory, [(ms(0), 100), (ms(500), 200), (ms(2500), 50)]);
    let many: String = (0..1002).map(|n| format!("{n},1\n")).collect();
    for (csv, expected) in [
        (
            "0,1\n1,x\n",
            "c.csv:2:3: `steps[3].workload.memory`: expected a whole number from 0 to 1048576, found `x`",
        ),
        ("0,1\n0,2\n", "c.csv:2:1: `steps[3].workload.memory`: expected a later time"),
        ("0,1\nb,2\n", "c.csv:2:1:"),
        ("7\n", "expected `time,value`, found `7`"),
        ("", "expected one line"),
        (many.as_str(), "(CURVE_POINTS_MAX)"),
    ] {
        let told = found(csv).unwrap();
        assert!(told.contains(expected), "{csv:.20}: {told}");
    }
    let bytes = "0,1\n".repeat(300_000);
    assert!(found(&bytes).unwrap().contains("(FILE_BYTES_MAX)"));
}

#[test]
fn manifests_of_a_file_are_told_with_its_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.yaml");
    let text = GOOD.to_owned() + "- apply: [{file: m.yaml}]\n";
    std::fs::write(dir.path().join("m.yaml"), "apiVersion: v1\nkind: Pod\n---\nkind: Job\n").unwrap();
    let problems = read_text(&file.display().to_string(), &text).unwrap_err();
    let told: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    assert!(told.contains("m.yaml:1:1") && told.contains("m.yaml:4:1"), "{told}");
    assert!(told.contains("`metadata.name` is missing") && told.contains("found `Job`"), "{told}");
}

/// A file with a few bytes changed, left out or written twice.
fn mutated(file: &[u8], changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for (at, what, byte) in changes {
        let at = at % bytes.len().max(1);
        match what % 4 {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => {
                bytes.truncate(at.max(1));
            }
            _ => bytes.extend_from_within(at..(at + usize::from(*byte)).min(bytes.len())),
        }
    }
    bytes
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.yaml");
        std::fs::write(&file, &bytes).unwrap();
        let _any_verdict = read_chosen(&file, &Choice::default());
    }

    #[test]
    fn no_mutation_of_a_good_file_makes_the_reader_panic(
        changes in proptest::collection::vec(proptest::arbitrary::any::<(usize, u8, u8)>(), 1..6),
    ) {
        for good in [GOOD, WIDE] {
            let text = mutated(good.as_bytes(), &changes);
            let _any_verdict = read_text("s.yaml", &String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", cut in 0..600_usize) {
        let _any_verdict = read_text("s.yaml", &text);
        let at = cut.min(GOOD.len());
        let _any_verdict = read_text("s.yaml", &format!("{}{text}{}", &GOOD[..at], &GOOD[at..]));
        let at = (cut * 4).min(WIDE.len());
        let _any_verdict = read_text("s.yaml", &format!("{}{text}{}", &WIDE[..at], &WIDE[at..]));
    }
}
