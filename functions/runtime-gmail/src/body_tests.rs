use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read_json(payload: &Value) -> Body {
    parse(&serde_json::value::to_raw_value(payload).expect("serializable"))
}

fn leaf(content_type: &str, bytes: &[u8]) -> Value {
    let mime_type = content_type.split(';').next().unwrap_or_default();
    json!({
        "mimeType": mime_type, "filename": "", "headers": [{"name": "content-type", "value": content_type}],
        "body": {"size": bytes.len(), "data": URL_SAFE.encode(bytes)},
    })
}

fn multipart(subtype: &str, parts: &[Value]) -> Value {
    json!({"mimeType": format!("multipart/{subtype}"), "filename": "", "body": {"size": 0}, "parts": parts})
}

fn file(name: &str, mime_type: &str, size: u64) -> Value {
    json!({"mimeType": mime_type, "filename": name, "body": {"size": size, "attachmentId": "A1"}})
}

#[test]
fn each_part_is_read_in_its_own_character_set() {
    let body = read_json(&multipart(
        "mixed",
        &[
            leaf("text/plain; charset=koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4"),
            leaf("text/plain; charset=utf-8", "Grüße".as_bytes()),
        ],
    ));
    assert_eq!(body.body_text, "Привет\n\nGrüße");
}

#[test]
fn plain_text_is_preferred_wherever_it_stands() {
    let html = leaf("text/html", b"<p>styled");
    let plain = leaf("text/plain", b"plain");
    for versions in [[html.clone(), plain.clone()], [plain, html]] {
        assert_eq!(read_json(&multipart("alternative", &versions)).body_text, "plain");
    }
}

#[test]
fn html_is_read_when_the_plain_version_is_blank_or_missing() {
    let related = multipart("related", &[leaf("text/html", b"<b>styled</b>"), file("logo.png", "image/png", 9)]);
    let body = read_json(&multipart("alternative", &[leaf("text/plain", b" \r\n "), related]));
    assert_eq!(body.body_text, "styled");
    assert_eq!(body.attachments.len(), 1);
}

#[test]
fn a_document_may_name_its_character_set_itself() {
    assert_eq!(read_json(&leaf("text/html", b"<meta charset='koi8-r'>\xf0\xd2\xc9\xd7\xc5\xd4")).body_text, "Привет");
}

#[test]
fn what_is_not_the_text_is_listed() {
    let mut note = leaf("text/plain", b"not the text");
    note["headers"] = json!([{"name": "Content-Disposition", "value": "ATTACHMENT"}]);
    let body = read_json(&multipart(
        "mixed",
        &[leaf("text/plain", b"the text"), file("a.pdf", "application/pdf", 7), note, file("", "message/rfc822", 5)],
    ));
    assert_eq!(body.body_text, "the text");
    let listed: Vec<_> = body.attachments.iter().map(|a| (a.filename.as_str(), a.mime_type.as_str(), a.size)).collect();
    assert_eq!(listed, [("a.pdf", "application/pdf", 7), ("", "text/plain", 12), ("", "message/rfc822", 5)]);
}

#[test]
fn an_attachment_is_listed_even_beside_a_version_that_was_not_needed() {
    let mixed = multipart("mixed", &[leaf("text/html", b"<p>x"), file("a.ics", "text/calendar", 3)]);
    let body = read_json(&multipart("alternative", &[leaf("text/plain", b"plain"), mixed]));
    assert_eq!((body.body_text.as_str(), body.attachments.len()), ("plain", 1));
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let exact = read_json(&leaf("text/plain; charset=utf-8", "é".repeat(MAX_CHARS).as_bytes()));
    assert_eq!((exact.body_text.chars().count(), exact.body_truncated), (MAX_CHARS, false));
    let longer = read_json(&leaf("text/plain; charset=utf-8", "🎉".repeat(MAX_CHARS + 1).as_bytes()));
    assert_eq!((longer.body_text.chars().count(), longer.body_truncated), (MAX_CHARS, true));
}

#[test]
fn base64_of_either_alphabet_with_any_padding_is_read() {
    let bytes = [0xfb, 0xff, 0xbf, 0x01];
    for data in
        [URL_SAFE.encode(bytes), STANDARD_NO_PAD.encode(bytes), "-_+/\r\n A Q = =".to_owned(), "-/-_!AQ".to_owned()]
    {
        assert_eq!(decode_base64(&data), bytes, "{data}");
    }
    assert_eq!(decode_base64("QUJDR"), b"ABC");
}

#[test]
fn control_characters_do_not_reach_the_reader() {
    assert_eq!(read_json(&leaf("text/plain", b"\r\na\x1b[31m\0b\r\nc\td\r")).body_text, "a[31mb\nc\td");
}

#[test]
fn no_depth_of_nesting_and_no_number_of_parts_is_too_much() {
    let (open, close) = (r#"{"mimeType":"multipart/mixed","parts":["#, "]}");
    let text = r#"{"mimeType":"text/plain","body":{"data":"aGk="}}"#;
    for depth in [5, MAX_DEPTH, 20_000] {
        let payload = format!("{open}{text},{}{text}{}{close}", open.repeat(depth - 1), close.repeat(depth - 1));
        let body = parse(&RawValue::from_string(payload).expect("JSON"));
        assert_eq!(body.body_text, if depth > MAX_DEPTH { "hi" } else { "hi\n\nhi" }, "{depth}");
    }
    let many = vec![file("f", "image/png", 1); 5 * MAX_PARTS];
    assert!(read_json(&multipart("mixed", &many)).attachments.len() < MAX_PARTS);
}

#[test]
fn what_is_not_of_gmails_form_is_an_empty_body() {
    for payload in [json!(null), json!([]), json!("x"), json!({"parts": {}}), json!({"body": 1}), json!({})] {
        assert_eq!(read_json(&payload), Body::default(), "{payload}");
    }
}

fn any_part() -> impl Strategy<Value = Value> {
    let content_type = prop_oneof![
        Just("text/plain; charset=iso-2022-jp".to_owned()),
        Just("text/html".to_owned()),
        Just("text/plain; charset=\"utf-16\"".to_owned()),
        Just("message/rfc822".to_owned()),
        any::<String>(),
    ];
    let any_leaf =
        (content_type, any::<Vec<u8>>(), any::<String>(), any::<bool>()).prop_map(|(kind, bytes, name, named)| {
            let mut part = leaf(&kind, &bytes);
            if named {
                part["filename"] = json!(name);
                part["body"]["data"] = json!(name);
            }
            part
        });
    any_leaf.prop_recursive(5, 40, 6, |inner| {
        (prop::sample::select(vec!["alternative", "mixed", "related", "digest"]), prop::collection::vec(inner, 0..6))
            .prop_map(|(subtype, parts)| multipart(subtype, &parts))
    })
}

proptest! {
    #[test]
    fn every_tree_is_read_within_bounds(payload in any_part()) {
        let body = read_json(&payload);
        prop_assert!(body.body_text.chars().count() <= MAX_CHARS);
        prop_assert!(body.attachments.len() <= MAX_PARTS);
    }
}
