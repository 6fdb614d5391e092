//! Label, default and fallbacks.

use super::*;
use std::collections::BTreeSet;

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn file(name: &str) -> Selected {
    Selected::File(name.to_owned())
}

#[test]
fn the_label_comes_before_the_default_and_the_default_before_fallbacks() {
    let all = names(&["default", "a", "b"]);
    let fallback = [Fallback::Named, Fallback::Single, Fallback::Empty];
    let table = [
        (Some("a"), Some("b"), file("a")),
        (Some(""), Some("b"), file("b")),
        (None, Some("b"), file("b")),
        (None, Some(""), file("default")),
        (None, None, file("default")),
    ];
    for (requested, default_config, expected) in table {
        let selected = super::select(requested, default_config, &fallback, &all);
        assert_eq!(selected, Ok(expected), "{requested:?} {default_config:?}");
    }
}

#[test]
fn fallbacks_are_tried_in_their_order() {
    use Fallback::{Empty, Named, Single};
    let table: &[(&[Fallback], &[&str], Option<Selected>)] = &[
        (&[Named, Single], &["only"], Some(file("only"))),
        (&[Single, Named], &["a", "default"], Some(file("default"))),
        (&[Empty, Named], &["default"], Some(Selected::Empty)),
        (&[Named, Single, Empty], &["a", "b"], Some(Selected::Empty)),
        (&[Named, Single], &["a", "b"], None),
        (&[], &["default"], None),
    ];
    for (fallback, available, expected) in table {
        let selected = super::select(None, None, fallback, &names(available));
        assert_eq!(selected.ok(), *expected, "{fallback:?} {available:?}");
    }
}

#[test]
fn an_unknown_name_is_an_error_that_names_what_there_is() {
    let all = names(&["default", "mps-config"]);
    let error = super::select(Some("mps-confg"), None, &[Fallback::Empty], &all).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the node's config label names an unknown config `mps-confg` (hint: did you mean `mps-config`? available: `default`, `mps-config`)"
    );
    let error = super::select(None, Some("zzzzzz"), &[Fallback::Empty], &all).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the default config names an unknown config `zzzzzz` (hint: available: `default`, `mps-config`)"
    );
    let error = super::select(None, None, &[Fallback::Single], &all).unwrap_err();
    assert!(error.to_string().contains("no fallback strategy of [single] applies"), "{error}");
}

#[test]
fn without_any_file_nothing_can_be_selected() {
    let none = names(&[]);
    let error = Err(SelectError::NothingAvailable);
    assert_eq!(super::select(Some("a"), None, &[], &none), error);
    assert_eq!(super::select(None, None, &[Fallback::Empty], &none), error);
}

#[test]
fn fallbacks_are_read_by_name() {
    for word in ["named", "single", "empty"] {
        assert_eq!(word.parse::<Fallback>().unwrap().as_str(), word);
    }
    let error = "first".parse::<Fallback>().unwrap_err();
    assert_eq!(error.to_string(), "a fallback strategy is one of `named`, `single`, `empty`, but is `first`");
}
