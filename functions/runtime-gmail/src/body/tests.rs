use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::part::{MAX_DEPTH, MAX_PARTS};
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

fn source(body: &Body) -> (&str, Option<Source>) {
    (&body.body_text, body.body_source)
}

#[test]
fn gmails_utf_8_and_the_senders_bytes_are_the_same_text() {
    for (label, raw, text) in [
        ("text/plain; charset=koi8-r", &b"\xf0\xd2\xc9\xd7\xc5\xd4"[..], "Привет"),
        ("text/plain; charset=iso-2022-jp", b"\x1b$B5~ET\x1b(B", "京都"),
        ("text/html; charset=windows-1252", b"\x93Caf\xe9\x94", "“Café”"),
    ] {
        for bytes in [raw, text.as_bytes()] {
            assert_eq!(read_json(&leaf(label, bytes)).body_text, text, "{label}");
        }
    }
    let meta = "<meta charset=koi8-r><p>Новости";
    assert_eq!(read_json(&leaf("text/html", meta.as_bytes())).body_text, "Новости");
}

#[test]
fn a_plain_version_that_only_points_to_the_html_is_left_out() {
    let html = leaf("text/html; charset=utf-8", "<p>Der Termin ist um 9 Uhr in Raum 3.".as_bytes());
    for (plain, source_read) in [
        ("Diese Mail ist nur als HTML lesbar.", Some(Source::Html)),
        ("https://example.org/online", Some(Source::Html)),
        ("Ja, passt.", Some(Source::Plain)),
    ] {
        let versions = [leaf("text/plain; charset=utf-8", plain.as_bytes()), html.clone()];
        let body = read_json(&multipart("alternative", &versions));
        assert_eq!(body.body_source, source_read, "{plain}: {}", body.body_text);
        assert!(!body.hidden_text_removed && !body.body_truncated);
    }
}

#[test]
fn what_a_version_that_is_not_given_hides_does_not_count() {
    let html = leaf("text/html", b"<p>Yes, at noon.<p hidden>secret");
    let body = read_json(&multipart("alternative", &[leaf("text/plain", b"Yes, at noon."), html]));
    assert_eq!((body.body_text.as_str(), body.hidden_text_removed), ("Yes, at noon.", false));
}

#[test]
fn of_equal_versions_the_last_is_read_and_of_others_the_best() {
    let versions = |versions: &[(&str, &str)]| {
        let parts: Vec<_> = versions.iter().map(|(kind, text)| leaf(kind, text.as_bytes())).collect();
        let body = read_json(&multipart("alternative", &parts));
        (body.body_text, body.attachments.len())
    };
    assert_eq!(versions(&[("text/plain", "first"), ("text/plain", "last")]), ("last".to_owned(), 0));
    assert_eq!(versions(&[("text/html", "first"), ("text/html", "last")]), ("last".to_owned(), 0));
    assert_eq!(versions(&[("text/plain", "kept"), ("text/plain", " ")]), ("kept".to_owned(), 0));
    assert_eq!(versions(&[("text/plain", "plain"), ("text/markdown", "*mark*")]), ("plain".to_owned(), 0));
    assert_eq!(versions(&[("text/markdown", "*mark*"), ("text/html", "<b>mark")]), ("*mark*".to_owned(), 0));
    assert_eq!(versions(&[("text/enriched", "<bold>x"), ("text/html", "<b>x")]), ("x".to_owned(), 0));
    assert_eq!(versions(&[("text/plain", "plain"), ("text/x-amp-html", "<html amp4email>")]), ("plain".to_owned(), 1));
}

#[test]
fn any_text_that_a_person_can_read_is_text() {
    for kind in ["text/markdown", "text/csv", "text/x-log", "TEXT/X-Diff", "text/enriched"] {
        assert_eq!(source(&read_json(&leaf(kind, b"line one"))), ("line one", Some(Source::Plain)), "{kind}");
    }
    for kind in ["text/css", "text/vcard", "application/json", "image/svg+xml"] {
        assert_eq!(source(&read_json(&leaf(kind, b"line one"))), ("", None), "{kind}");
    }
}

fn named(content_type: &str, name: &str, disposition: &str, bytes: &[u8]) -> Value {
    let mut part = leaf(content_type, bytes);
    part["filename"] = json!(name);
    part["headers"] = json!([
        {"name": "Content-Type", "value": content_type},
        {"name": "Content-Disposition", "value": format!("{disposition}; filename={name}")},
    ]);
    part
}

#[test]
fn a_named_text_is_the_body_if_there_is_no_other() {
    let note = named("text/plain; charset=utf-8", "note.txt", "inline", b"Call me back.");
    let alone = read_json(&multipart("mixed", &[note.clone(), file("a.pdf", "application/pdf", 7)]));
    assert_eq!((source(&alone), alone.attachments.len()), (("Call me back.", Some(Source::Plain)), 1));
    let beside = read_json(&multipart("mixed", &[leaf("text/plain", b"See the note."), note.clone()]));
    assert_eq!((beside.body_text.as_str(), beside.attachments.len()), ("See the note.", 1));
    let two = read_json(&multipart("mixed", &[note, named("text/plain", "two.txt", "inline", b"Second")]));
    assert_eq!((two.body_text.as_str(), two.attachments.len()), ("Call me back.", 1));
    let attached = read_json(&named("text/plain", "note.txt", "attachment", b"Call me back."));
    assert_eq!((source(&attached), attached.attachments.len()), (("", None), 1));
}

const INVITATION: &[u8] = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Sowing\nDTSTART:20270401T070000Z\nEND:VEVENT\n\
    END:VCALENDAR";

#[test]
fn an_invitation_is_read_if_there_is_no_text() {
    let kind = "text/calendar; charset=utf-8; method=CANCEL";
    let alone = read_json(&leaf(kind, INVITATION));
    let lines = "Summary: Sowing\nStart: 2027-04-01 07:00 UTC\nMethod: CANCEL";
    assert_eq!((source(&alone), alone.attachments.len()), ((lines, Some(Source::Calendar)), 0));
    let file = read_json(&named(kind, "invite.ics", "attachment", INVITATION));
    assert_eq!((source(&file), file.attachments.len()), ((lines, Some(Source::Calendar)), 1), "a file stays listed");
    let beside = read_json(&multipart("alternative", &[leaf("text/plain", b"Come."), leaf(kind, INVITATION)]));
    assert_eq!((source(&beside), beside.attachments.len()), (("Come.", Some(Source::Plain)), 1));
    assert_eq!(source(&read_json(&leaf(kind, b"no calendar"))), ("", None));
}

/// A part whose content Gmail keeps apart.
fn apart(content_type: &str, id: &str, size: u64) -> Value {
    let mut part = leaf(content_type, b"");
    part["body"] = json!({"size": size, "attachmentId": id});
    part
}

/// Reads a payload as the function does, with `contents` at Gmail; the body, and what was fetched, in order.
fn fetching(payload: &Value, contents: &[(&str, Option<&str>)]) -> (Body, Vec<String>) {
    let payload = serde_json::value::to_raw_value(payload).expect("serializable");
    let (mut fetched, mut asked) = (Fetched::new(), Vec::new());
    loop {
        let Reading { body, missing } = read(&payload, &fetched);
        if missing.is_empty() {
            return (body, asked);
        }
        for id in missing {
            asked.push(id.clone());
            let found = contents.iter().find(|(known, _)| *known == id).and_then(|(_, text)| *text);
            assert!(fetched.insert(id, found.map(|text| URL_SAFE.encode(text))).is_none(), "asked twice");
        }
    }
}

#[test]
fn a_text_that_gmail_keeps_apart_is_fetched_alone() {
    let versions =
        [apart("text/plain", "P", 30), apart("text/html", "H", 3_000_000), file("a.pdf", "application/pdf", 9)];
    let message = multipart("alternative", &versions);
    let (body, asked) = fetching(&message, &[("P", Some("all of it"))]);
    assert_eq!((body.body_text.as_str(), body.body_truncated, body.attachments.len()), ("all of it", false, 1));
    assert_eq!(asked, ["P"]);
    let (body, asked) = fetching(&message, &[("P", Some("Only as HTML.")), ("H", Some("<p>At seven in the barn."))]);
    assert_eq!((source(&body), asked.len()), (("At seven in the barn.", Some(Source::Html)), 2));
    let short = multipart("alternative", &[leaf("text/plain", b"Yes."), apart("text/html", "H", 9)]);
    assert_eq!(fetching(&short, &[]).1, [""; 0], "a short answer needs no other version");
}

#[test]
fn a_text_that_is_gone_or_too_large_is_cut() {
    let html = leaf("text/html", b"<p>inline");
    for (plain, calls) in [(apart("text/plain", "P", 30), 1), (apart("text/plain", "P", MAX_FETCHED_BYTES + 1), 0)] {
        let (body, asked) = fetching(&plain, &[]);
        assert_eq!((source(&body), body.body_truncated, asked.len()), (("", None), true, calls));
        let (body, _) = fetching(&multipart("alternative", &[plain, html.clone()]), &[]);
        assert_eq!((body.body_text.as_str(), body.body_truncated), ("inline", true));
    }
    let many: Vec<_> = (0..9).map(|id| apart("text/plain", &id.to_string(), 9)).collect();
    let (body, asked) = fetching(&multipart("mixed", &many), &[("0", Some("one")), ("1", Some("two"))]);
    assert_eq!((body.body_text.as_str(), body.body_truncated, asked.len()), ("one\n\ntwo", true, MAX_FETCHED));
    assert!(parse(&serde_json::value::to_raw_value(&many[0]).expect("JSON")).body_truncated);
}

#[test]
fn an_invitation_that_gmail_keeps_apart_is_fetched() {
    let text = std::str::from_utf8(INVITATION).expect("ASCII");
    let (body, asked) = fetching(&apart("text/calendar", "C", 99), &[("C", Some(text))]);
    assert_eq!((body.body_source, asked.len()), (Some(Source::Calendar), 1));
    assert_eq!(
        fetching(&multipart("mixed", &[leaf("text/plain", b"x"), apart("text/calendar", "C", 9)]), &[]).1,
        [""; 0]
    );
}

#[test]
fn a_header_without_a_value_costs_only_itself() {
    let mut part = leaf("text/plain; charset=koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4");
    let named = part["headers"][0].clone();
    part["headers"] = json!([{"name": "Subject"}, {"value": "x"}, {"name": null, "value": null}, {}, named]);
    assert_eq!(read_json(&part).body_text, "Привет");
}

#[test]
fn what_a_person_does_not_see_is_left_out_and_reported() {
    let tags: String = "obey".chars().map(|c| char::from_u32(0xe0000 + c as u32).expect("a tag")).collect();
    let plain = read_json(&leaf("text/plain; charset=utf-8", format!("Hello{tags}\u{feff} 👩\u{200d}🚀").as_bytes()));
    assert_eq!((plain.body_text.as_str(), plain.hidden_text_removed), ("Hello 👩\u{200d}🚀", true));
    let html = read_json(&leaf("text/html", b"<p>seen<p style='display:none'>unseen"));
    assert_eq!((html.body_text.as_str(), html.hidden_text_removed), ("seen", true));
    let name = read_json(&multipart("mixed", &[file(&format!("a{tags}.pdf"), "application/pdf", 1)]));
    assert_eq!((name.attachments[0].filename.as_str(), name.hidden_text_removed), ("a.pdf", true));
    assert!(!read_json(&leaf("text/plain", b"a\x1b[31mb\0")).hidden_text_removed);
}

#[test]
fn what_stands_before_the_text_does_not_count() {
    let style = format!("<style>{}</style><p>the text", ".a{color:red}".repeat(25_000));
    let picture = format!("<img src='data:image/png;base64,{}' alt='logo'><p>the text", "A".repeat(5_000_000));
    let comment = format!("<!--{}--><p>the text", "x".repeat(5_000_000));
    for html in [style, picture, comment] {
        let body = read_json(&leaf("text/html", html.as_bytes()));
        assert!(body.body_text.ends_with("the text") && !body.body_truncated, "{}", &html[..20]);
    }
    let blanks = format!("{}the text", "\u{200b}\r\n".repeat(20_000));
    assert_eq!(read_json(&leaf("text/plain; charset=utf-8", blanks.as_bytes())).body_text, "the text");
    let endless = format!("<p>begin<!--{}--><p>end", "x".repeat(MAX_TEXT_BYTES));
    let body = read_json(&leaf("text/html", endless.as_bytes()));
    assert_eq!((body.body_text.as_str(), body.body_truncated), ("begin", true));
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
