//! Multipart forms. The first line of an input is the content type. What is read is part of the body, and is read again
//! from a form that is written from it.
#![no_main]

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use nbhd_fuzz::split_line;
use telegram_relay::Parameters;

/// No input that a fuzzer finds has this line by chance.
const BOUNDARY: &str = "7c1f0e6a-9d7b-4a55-8a43-0c1a4a3f9be2";

fuzz_target!(|input: &[u8]| {
    let Some((content_type, body)) = split_line(input) else { return };
    let Some(given) = read(content_type, body) else { return };
    let texts: usize = given.values.values().filter_map(|value| Some(value.as_str()?.len())).sum();
    let files: usize = given.files.values().map(|file| file.bytes.len()).sum();
    assert!(texts + files <= body.len(), "more than was sent");

    let is_plain = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !given.values.keys().chain(given.files.keys()).all(is_plain) || given.values.len() + given.files.len() == 0 {
        return;
    }
    let again = read(&format!("multipart/form-data; boundary={BOUNDARY}"), &write(&given)).expect("a form");
    assert_eq!(again.values, given.values);
    for (name, file) in &given.files {
        assert_eq!(again.files[name].bytes, file.bytes);
    }
    assert_eq!(again.files.len(), given.files.len());
});

fn read(content_type: &str, body: &[u8]) -> Option<Parameters> {
    let content_type = HeaderValue::from_str(content_type).ok()?;
    let essence = content_type.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
    let is_form = essence == "multipart/form-data" && !body.is_empty();
    is_form.then(|| block_on(Parameters::from_request(None, &headers, Bytes::copy_from_slice(body))).ok()).flatten()
}

fn write(given: &Parameters) -> Vec<u8> {
    let texts = given.values.iter().map(|(name, text)| (name, "", text.as_str().unwrap_or_default().as_bytes()));
    let files = given.files.iter().map(|(name, file)| (name, "; filename=\"f\"", &*file.bytes));
    let mut form = Vec::new();
    for (name, file_name, content) in texts.chain(files) {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n");
        form.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    form.extend(format!("--{BOUNDARY}--\r\n").bytes());
    form
}
