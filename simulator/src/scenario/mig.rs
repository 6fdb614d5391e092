//! MIG in scenario files: what GPUs are cut into, at first under `gpus` and later by the verb `mig`.

use std::collections::BTreeMap;

use fake_gpu::{BoardProfile, MigError, check_layout};

use super::decode::Reader;
use super::grammar::MIG;
use super::limits::GPUS_MAX;
use super::problem::{Place, nearest};
use super::verb::Verb;
use super::yaml::{Kind, Node};

/// Reads `gpus.mig`: one layout for all GPUs, or layouts by the index of a GPU.
pub(super) fn layouts(
    reader: &mut Reader,
    node: &Node,
    path: &str,
    board: Option<&str>,
    count: Option<u64>,
) -> BTreeMap<u32, Vec<String>> {
    let count = u32::try_from(count.unwrap_or(0)).unwrap_or(0);
    let Kind::Map(entries) = &node.kind else {
        let layout = layout(reader, node, path, board);
        return (0..count).map(|gpu| (gpu, layout.clone())).collect();
    };
    let mut layouts = BTreeMap::new();
    for (key, value) in entries {
        let path = format!("{path}.{}", key.name);
        let layout = layout(reader, value, &path, board);
        match key.name.parse::<u32>() {
            Ok(gpu) if gpu < count => {
                layouts.insert(gpu, layout);
            }
            _ => {
                let message = format!("expected the index of one of {count} GPUs, counted from 0");
                reader.problem(key.place, &path, message);
            }
        }
    }
    layouts
}

fn layout(reader: &mut Reader, node: &Node, path: &str, board: Option<&str>) -> Vec<String> {
    let layout = reader.texts(node, path);
    if let (Some(board), Kind::List(items)) = (board, &node.kind) {
        let place = |entry: usize| items.get(entry).map_or(node.place, |item| item.place);
        judge(reader, place, path, board, &layout);
    }
    layout
}

/// Notes why a board cannot be cut so. A board that nobody knows is noted elsewhere.
fn judge(reader: &mut Reader, place: impl Fn(usize) -> Place, path: &str, board: &str, layout: &[String]) {
    let Ok(profile) = BoardProfile::load(board) else { return };
    let Err((entry, why)) = check_layout(&profile, layout) else { return };
    let path = if layout.is_empty() { path.to_owned() } else { format!("{path}[{entry}]") };
    let hint = match &why {
        MigError::UnknownProfile { name, .. } => {
            let names = profile.mig_profiles.iter().map(|profile| profile.name.as_str());
            nearest(name, names).map(|near| format!("did you mean `{near}`?"))
        }
        MigError::NoMig | MigError::NoSuchPlacement { .. } | MigError::NoRoom { .. } => None,
    };
    reader.problem_with_hint(place(entry), &path, format!("board `{board}`: {why}"), hint);
}

/// `mig`.
pub(super) fn mig(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, MIG);
    let node = fields.need_text(reader, "node");
    let gpu = fields.need(reader, "gpu").and_then(|n| reader.number(n, &fields.path("gpu"), 0, GPUS_MAX - 1));
    let layout = fields.get("layout").map(|n| reader.texts(n, &fields.path("layout")));
    Some(Verb::Mig { node: node?, gpu: u32::try_from(gpu?).ok()?, layout })
}

/// Notes what is wrong with a step `mig` on a node with so many GPUs of this board.
pub(super) fn check(
    reader: &mut Reader,
    (place, path): (Place, &str),
    (board, gpus): (&str, u32),
    gpu: u32,
    layout: &[String],
) {
    if gpu >= gpus {
        let message = format!("expected an index below {gpus}, the number of GPUs, counted from 0");
        return reader.problem(place, &format!("{path}.gpu"), message);
    }
    judge(reader, |_| place, &format!("{path}.layout"), board, layout);
}

#[cfg(test)]
mod tests {
    use super::super::read_text;

    const GOOD: &str = "\
story: MIG
nodes:
- {name: gpu-1, gpus: {board: a100-sxm4-40gb, count: 2, mig: [1g.5gb, 1g.5gb, 2g.10gb]}}
- {name: gpu-2, gpus: {board: a100-sxm4-40gb, count: 3, mig: {0: [3g.20gb:0], 2: []}}}
- {name: gpu-3, gpus: {board: tesla-t4, count: 1}}
steps:
- mig: {node: gpu-2, gpu: 1, layout: [1c.3g.20gb]}
- mig: {node: gpu-1, gpu: 0}
";

    #[test]
    fn layouts_are_of_all_gpus_or_by_index_and_their_absence_is_mig_off() {
        let scenario = read_text("s.yaml", GOOD).unwrap();
        let spec = |node: usize| scenario.nodes[node].gpus.as_ref().unwrap().spec("n").gpus;
        let cut = |node: usize| spec(node).into_iter().map(|gpu| gpu.mig).collect::<Vec<_>>();
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(cut(0), vec![names(&["1g.5gb", "1g.5gb", "2g.10gb"]); 2]);
        assert_eq!(cut(1), [names(&["3g.20gb:0"]), None, names(&[])]);
        assert_eq!(cut(2), [None]);
    }

    #[test]
    fn what_cannot_be_cut_so_is_refused_with_its_place() {
        let table: &[(&str, &str, &str)] = &[
            (
                "1g.5gb, 2g.10gb]",
                "1g.5gb, 2g.10g]",
                "s.yaml:3:79: `nodes[0].gpus.mig[2]`: board `a100-sxm4-40gb`: unknown MIG profile `2g.10g`, expected one of 1g.5gb",
            ),
            ("1g.5gb, 2g.10gb]", "1g.5gb, 2g.10g]", "(hint: did you mean `2g.10gb`?)"),
            (
                "1g.5gb, 2g.10gb]",
                "1g.5gb, 7g.40gb]",
                "s.yaml:3:63: `nodes[0].gpus.mig[0]`: board `a100-sxm4-40gb`: no room for `1g.5gb`",
            ),
            ("3g.20gb:0", "3g.20gb:2", "s.yaml:4:67: `nodes[1].gpus.mig.0[0]`"),
            ("2: []", "3: []", "s.yaml:4:79: `nodes[1].gpus.mig.3`: expected the index of one of 3 GPUs"),
            ("2: []", "2: off", "expected a list"),
            ("tesla-t4, count: 1", "tesla-t4, count: 1, mig: []", "board `tesla-t4`: the board has no MIG"),
            (
                "[1c.3g.20gb]",
                "[4c.3g.20gb]",
                "s.yaml:7:3: `steps[0].mig.layout[0]`: board `a100-sxm4-40gb`: unknown",
            ),
            ("gpu: 1", "gpu: 3", "`steps[0].mig.gpu`: expected an index below 3"),
            (
                "{node: gpu-1, gpu: 0}",
                "{node: gpu-3, gpu: 0}",
                "`steps[1].mig.layout`: board `tesla-t4`: the board has no MIG",
            ),
            ("{node: gpu-1, gpu: 0}", "{node: gpu-9, gpu: 0}", "there is no node `gpu-9`"),
            ("{node: gpu-1, gpu: 0}", "{node: gpu-1}", "`gpu` is missing"),
        ];
        for (from, to, expected) in table {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let problems = read_text("s.yaml", &text).unwrap_err().0;
            let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
        }
    }
}
