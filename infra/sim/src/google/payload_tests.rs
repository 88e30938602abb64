use proptest::prelude::*;

use super::*;
use crate::google::mailbox::SAMPLES;

/// Written by hand from the samples: subject, the character set that the first text part names, and its whole text.
const EXPECTED: [(&str, &str, &str); 8] = [
    (
        "Budget review moved to Thursday 10:00",
        "us-ascii",
        "Hi Nora,\n\nthe room is taken on Wednesday, so the budget review is now on Thursday at\n10:00 in the reading \
         room. Could you bring the heating offers? I have two of\nthe three, and the board wants to decide this \
         week.\n\nThanks,\nDaniel\n",
    ),
    (
        "Re: Budget review moved to Thursday 10:00",
        "utf-8",
        "Thursday works. I can only stay until 11:30 – the auditor calls at noon.\n\nThe third offer is €14,200, valid \
         until Friday.\n\nMiriam\n\n> Hi Nora,\n>\n> the room is taken on Wednesday, so the budget review is now on \
         Thursday at\n> 10:00 in the reading room.\n",
    ),
    (
        "Votre voyage Genève - Lyon est confirmé",
        "iso-8859-1",
        "Votre voyage est confirmé\n\nBonjour Nora,\n\nDépart  : vendredi 20 novembre, 07:28, Genève-Cornavin, voie \
         4\nArrivée : 09:21, Lyon Part-Dieu\nPlace   : voiture 12, siège 47 (fenêtre)\n\nRéférence : QJ4T7R, à \
         présenter au contrôle.\n",
    ),
    (
        "Invoice 2026-0417 and the service report",
        "windows-1252",
        "Dear Ms Lindqvist,\n\nplease find invoice 2026-0417 over £312.50 attached, due on 3 December,\ntogether with \
         the boiler’s service report.\n\nKind regards — Hartwell Heating\n",
    ),
    (
        "Grüße aus München",
        "iso-8859-15",
        "Liebe Nora,\n\nwir sind gut angekommen. Das Zimmer kostet 89 € die Nacht, und für Samstag\nhaben wir Karten \
         für die Oper - äh, fürs Konzert!\n\nSchöne Grüße, auch an die Kinder\nLena\n",
    ),
    (
        "ご予約の確認",
        "iso-2022-jp",
        "リンドクヴィスト様\n\nご予約ありがとうございます。\n12月4日(金)より2泊、2名様、朝食付きで承りました。\n\
         予約番号: R-20261204-118\n\n旅館さくら\n",
    ),
    (
        "Новости недели",
        "koi8-r",
        "<html><head><title>Новости недели</title><style>p{margin:0}</style></head><body>\n<h1>Новости \
         недели</h1><p>В субботу в 15:00 &mdash; встреча читателей.</p>\n<ul><li>Новые книги: 27</li><li>Читальный \
         зал открыт до 20:00</li></ul></body></html>\n",
    ),
    (
        "Dinner on Saturday 🍝",
        "utf-8",
        "Come hungry! Saturday, 19:30 at our place. Bring nothing but yourself –\nwell, maybe that rhubarb cake. \
         🍰\n\nSofia\n",
    ),
];

fn leaves<'p>(node: &'p Value, found: &mut Vec<&'p Value>) {
    match node["parts"].as_array() {
        Some(parts) => parts.iter().for_each(|part| leaves(part, found)),
        None => found.push(node),
    }
}

fn in_form(form: TextForm) -> TextHabits {
    TextHabits { form, ..TextHabits::default() }
}

fn header<'p>(part: &'p Value, name: &str) -> &'p str {
    let mut fields = part["headers"].as_array().into_iter().flatten();
    fields.find(|field| field["name"] == name).and_then(|field| field["value"].as_str()).unwrap_or_default()
}

/// The first text part of a sample, and its bytes.
fn first_text(payload: &Value) -> (&Value, Vec<u8>) {
    let mut found = Vec::new();
    leaves(payload, &mut found);
    let part = found.into_iter().find(|part| part["body"]["data"].is_string()).expect("text");
    (part, URL_SAFE.decode(part["body"]["data"].as_str().unwrap_or_default()).expect("base64url"))
}

#[test]
fn a_text_is_utf_8_under_the_senders_header() {
    for (raw, (subject, charset, text)) in SAMPLES.into_iter().zip(EXPECTED) {
        let payload = parse(raw, in_form(TextForm::Utf8)).payload;
        let (part, bytes) = first_text(&payload);
        let found = String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n");
        assert_eq!(found.trim_end(), text.trim_end(), "{subject}");
        assert!(header(part, "Content-Type").ends_with(&format!("charset={charset}")), "{subject}");
    }
}

#[test]
fn a_raw_text_keeps_the_charset_of_its_part() {
    for (raw, (subject, charset, text)) in SAMPLES.into_iter().zip(EXPECTED) {
        let payload = parse(raw, in_form(TextForm::Raw)).payload;
        let (_, bytes) = first_text(&payload);
        let encoding = encoding_rs::Encoding::for_label(charset.as_bytes()).expect("a known set");
        assert_eq!(encoding.decode(&bytes).0.replace("\r\n", "\n").trim_end(), text.trim_end(), "{subject}");
        let is_utf_8 = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end() == text.trim_end();
        assert_eq!(is_utf_8, ["us-ascii", "utf-8"].contains(&charset), "{subject}");
    }
}

#[test]
fn a_document_that_names_its_own_charset_is_utf_8_too() {
    for head in ["<meta charset='koi8-r'>", "<META content=\"text/html; charset=koi8-r\" http-equiv=Content-Type>"] {
        let raw = [b"Content-Type: text/html\r\n\r\n", head.as_bytes(), b"\xce\xcf\xd7\xcf\xd3\xd4\xc9"].concat();
        let text = |form| first_text(&parse(&raw, in_form(form)).payload).1;
        assert_eq!(String::from_utf8_lossy(&text(TextForm::Utf8)), format!("{head}новости"));
        assert!(text(TextForm::Raw).ends_with(b"\xce\xcf\xd7\xcf\xd3\xd4\xc9"));
    }
}

#[test]
fn bytes_that_are_not_of_their_charset_stay_as_they_are() {
    for raw in [
        &b"Content-Type: text/plain; charset=utf-8\r\n\r\nF\xf6hn"[..],
        b"Content-Type: text/plain; charset=no-such\r\n\r\nF\xf6hn",
        b"Content-Type: text/plain\r\n\r\nF\xf6hn",
    ] {
        assert_eq!(first_text(&parse(raw, TextHabits::default()).payload).1, b"F\xf6hn");
    }
}

#[test]
fn a_large_text_is_kept_apart() {
    let habits = TextHabits { apart_above: 20, ..TextHabits::default() };
    let raw = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nf\xfcnfundzwanzig Zeichen";
    let parsed = parse(raw, habits);
    let body = &parsed.payload["body"];
    assert_eq!((&body["data"], &body["size"]), (&Value::Null, &json!(23)));
    let id = body["attachmentId"].as_str().expect("an id");
    assert_eq!(parsed.attachments[id], "fünfundzwanzig Zeichen".as_bytes());
}

#[test]
fn headers_are_unfolded_and_decoded() {
    for (raw, (subject, ..)) in SAMPLES.into_iter().zip(EXPECTED) {
        assert_eq!(header(&parse(raw, TextHabits::default()).payload, "Subject"), subject);
    }
    let senders = SAMPLES.map(|raw| header(&parse(raw, TextHabits::default()).payload, "From").to_owned());
    for sender in ["Billetterie Léman <noreply@tickets.example>", "旅館さくら <yoyaku@ryokan.example>"] {
        assert!(senders.iter().any(|known| known == sender), "{sender}: {senders:?}");
    }
}

#[test]
fn attachments_are_named_and_measured_but_not_inlined() {
    let raw = SAMPLES.iter().find(|raw| String::from_utf8_lossy(raw).contains("2026-0417")).expect("a sample");
    let payload = parse(raw, TextHabits::default()).payload;
    let mut parts = Vec::new();
    leaves(&payload, &mut parts);
    let shown: Vec<_> = parts
        .iter()
        .map(|part| (part["partId"].as_str(), part["filename"].as_str(), part["body"]["attachmentId"].is_string()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("0.0.0"), Some(""), false),
            (Some("0.0.1"), Some(""), false),
            (Some("0.1"), Some("logo.png"), true),
            (Some("1"), Some("Invoice 2026-0417.pdf"), true),
            (Some("2"), Some("Service report – boiler n° 2.txt"), true),
        ]
    );
    assert!(parts.iter().all(|part| part["body"]["size"].as_u64().is_some_and(|size| size > 0)));
}

proptest! {
    #[test]
    fn any_bytes_become_a_tree(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&raw, TextHabits::default()).payload["mimeType"].is_string());
    }

    #[test]
    fn damaged_mail_becomes_a_tree(
        sample in 0..SAMPLES.len(),
        at in 0usize..2_000,
        with in ".{0,12}",
        cut in 0usize..200,
    ) {
        let mut raw = SAMPLES[sample].to_vec();
        let at = at.min(raw.len());
        raw.splice(at..(at + cut).min(raw.len()), with.bytes());
        prop_assert!(parse(&raw, TextHabits::default()).payload["mimeType"].is_string());
    }
}
