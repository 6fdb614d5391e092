//! A run as one HTML file, because how a cluster came to its last state is a picture: lanes over time, and what broke.
//!
//! The file needs nothing but itself: style, script and data are inside, and its content security policy allows no
//! connection. What matters most — verdict, failure, steps, final state — is plain HTML that is there without scripts;
//! the script draws the timeline from the data. Everything from a scenario is untrusted: as HTML it is escaped, as data
//! it cannot end its element, and the script sets text only as text.

mod page;
mod tables;

use crate::timeline::Timeline;

const TEMPLATE: &str = include_str!("view.html");
const STYLE: &str = include_str!("view.css");
/// The script's parts in order; together they are the body of one function.
const SCRIPT: &[&str] = &[
    include_str!("data.js"),
    include_str!("scale.js"),
    include_str!("rows.js"),
    include_str!("draw.js"),
    include_str!("head.js"),
    include_str!("inspect.js"),
    include_str!("view.js"),
];

/// The page of one run. A record that could not be written as JSON would leave a page that says so where the timeline
/// should be; its plain parts would still be there.
pub fn render(timeline: &Timeline) -> String {
    let data = data(&serde_json::to_string(timeline).unwrap_or_else(|error| error.to_string()));
    let script = format!("(() => {{\n\"use strict\";\n{}}})();\n", SCRIPT.concat());
    fill(TEMPLATE, |slot| match slot {
        "title" => page::title(timeline),
        "style" => STYLE.to_owned(),
        "header" => page::header(timeline),
        "failure" => page::failure(timeline),
        "notes" => page::notes(timeline),
        "steps" => page::steps(timeline),
        "final" => tables::final_state(timeline),
        "data" => data.clone(),
        "script" => script.clone(),
        _ => String::new(),
    })
}

/// The template with its `{{slots}}` filled; what is filled in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once("}}") {
            Some((slot, rest)) => {
                out.push_str(&value(slot));
                out.push_str(rest);
            }
            None => out.push_str(piece),
        }
    }
    out
}

/// JSON that can stand inside a script element: no `<`, `>` or `&` is left in it, and no line separator that older
/// parsers take for a line's end. All of these occur inside JSON strings only.
fn data(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Text for HTML, also inside quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
