//! What reading the HTML of a mail costs, whoever wrote it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use runtime_gmail::body;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::report::Report;

const MEGABYTE: usize = 1024 * 1024;

/// How often each document is read; the quickest counts, since nothing but the machine makes it slower.
const READINGS: usize = 9;

/// The time per megabyte of a document, from Gmail's base64 to the text.
pub(crate) fn measure_html(report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("A megabyte of HTML, in this process: the quickest of {READINGS}"));
    for (name, html) in [("a newsletter", newsletter()), ("end tags of nothing", unmatched_end_tags())] {
        let payload = to_raw_value(&json!({
            "mimeType": "text/html",
            "body": {"size": html.len(), "data": URL_SAFE.encode(&html)},
        }))?;
        let read = || {
            let began = Instant::now();
            let text = body::parse(&payload).body_text;
            (began.elapsed(), text.len())
        };
        let took = (0..READINGS).map(|_| read().0).min().unwrap_or(Duration::ZERO);
        report.figure(name, &format!("{:.1} ms", took.as_secs_f64() * 1e3 * MEGABYTE as f64 / html.len() as f64));
    }
    Ok(())
}

/// Tables of styled cells, as mail is made, with less text than a runtime gets of one mail: all of it is read.
fn newsletter() -> String {
    let style = "font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:20px;color:#333333;\
        padding:10px 20px;background-color:#ffffff;border-collapse:collapse;\
        text-decoration:none;mso-line-height-rule:exactly";
    let cell = format!(
        "<table role=presentation width=600 cellpadding=0 style=\"{style}\"><tr><td class=\"cell m\" style=\"{style}\">\
         <p style=\"{style}\"><a href=\"https://news.example/click?id=0123\" style=\"{style}\">five words</a>\
         <img src=\"https://news.example/picture.png\" alt=\"\" style=\"{style}\"></td></tr></table>"
    );
    let head = "<style>.m{width:100%} .hidden{display:none} @media print{.m{display:none}}</style>";
    format!("{head}{}", cell.repeat(MEGABYTE / cell.len()))
}

/// What costs the reader most: each end tag looks through as many open elements as are kept.
fn unmatched_end_tags() -> String {
    format!("{}{}", "<u>".repeat(1_000), "</x>".repeat(MEGABYTE / 4))
}
