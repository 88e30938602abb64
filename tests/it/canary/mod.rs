//! No secret, token, mail or message text leaves by a way that is not its own.
//!
//! Markers are unmistakable texts, put wherever something confidential comes from. The system lives through its whole
//! value chain and every way we know to fail; then all that it gave off is searched. Each marker says where it belongs,
//! and has to be found there too, so that the story cannot come to miss what it is about.

mod billing;
mod search;
mod stage;
mod story;

use axum::http::{HeaderMap, StatusCode};
use nbhd::domain::ids::ChatId;
use nbhd_sim::journal::{Entry, Journal};
use nbhd_sim::{google, stripe, telegram};

use search::{Emission, Marker, Sink, complaints, journalled, unique};
use stage::{CHAT, Stage};

#[tokio::test]
async fn nothing_confidential_leaves_by_a_way_that_is_not_its_own() {
    let mut stage = Stage::set().await;
    story::people_write(&mut stage).await;
    story::the_assistant_answers(&mut stage).await;
    story::the_assistant_replies_to_a_link(&mut stage).await;
    story::google_is_connected(&mut stage).await;
    story::the_assistant_reads(&mut stage).await;
    story::tokens_age(&mut stage).await;
    story::deliveries_fail(&mut stage).await;
    story::stores_fail(&mut stage).await;
    story::google_is_disconnected(&mut stage).await;
    billing::somebody_subscribes(&mut stage).await;
    stage.add_credentials();

    let complaints = complaints(&stage.markers, &stage.emissions());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    if let Some(contract) = google::contract::Contract::load() {
        let report = contract.check(&stage.world.journal);
        assert_eq!(report.violations, Vec::<String>::new(), "of {} exchanges with Google", report.requests);
    }
    if let Some(contract) = stripe::contract::Contract::load() {
        let report = contract.check(&stage.world.journal);
        assert_eq!(report.violations, Vec::<String>::new(), "of {} calls of Stripe", report.requests);
    }
    if let Some(contract) = telegram::contract::Contract::load() {
        let mut violations = contract.check(&stage.world.journal).violations;
        // The story asks Telegram for a few of those itself.
        violations.retain(|violation| !violation.ends_with("the answer is no JSON"));
        assert_eq!(violations, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_leak_into_a_log_line_or_an_item_is_found() {
    let mut stage = Stage::set().await;
    let text = stage.add_marker("a planted leak", &[]);
    assert_eq!(complaints(&stage.markers[1..], &stage.emissions()), Vec::<String>::new());

    tracing::warn!(detail = format!("a careless line with {text} in it"));
    let found = complaints(&stage.markers[1..], &stage.emissions());
    assert!(found.len() == 1 && found[0].starts_with("a planted leak leaked into Log"), "{found:?}");

    let store = stage.world.store().expect("a store");
    let mut route = store.load_route(ChatId(CHAT)).await.expect("the table").expect("a route");
    route.runtime_url = Some(format!("https://example.com/{text}"));
    store.put_route(&route).await.expect("the table");
    stage.look_at_the_table();
    let found = complaints(&stage.markers[1..], &stage.emissions());
    assert!(found.len() == 2 && found[1].starts_with("a planted leak leaked into Table"), "{found:?}");
}

#[test]
fn a_leak_by_any_way_and_in_any_guise_is_found() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let secret = unique("secret");
    let guises = [
        secret.clone(),
        format!("{{\"a\":\"{secret}\"}}"),
        STANDARD.encode(&secret),
        STANDARD.encode(format!("user:{secret}")),
        URL_SAFE_NO_PAD.encode(format!("{{\"name\":\"{secret}\",\"aud\":\"x\"}}")),
        URL_SAFE_NO_PAD.encode(format!("12{secret}3")),
    ];
    let queue = |name: &str, text: &str| format!("{{\"QueueUrl\":\"http://q/0/{name}\",\"MessageBody\":{text:?}}}");
    for text in &guises {
        for (simulator, path, body, sink) in [
            ("sqs", "/", queue("inbound.fifo", text), Sink::Inbound),
            ("sqs", "/", queue("inbound-dlq.fifo", text), Sink::DeadLetter),
            ("sqs", "/", queue("refresh", text), Sink::Jobs),
            ("telegram", "/bot1:a/sendMessage", text.clone(), Sink::Telegram),
            ("runtime", "/telegram-webhook", text.clone(), Sink::Runtime),
            ("google", "/token", text.clone(), Sink::Google),
            ("sts", "/", text.clone(), Sink::Sts),
            ("entra", "/t/oauth2/v2.0/token", text.clone(), Sink::Entra),
            ("key-vault", "/secrets/x", text.clone(), Sink::Vault),
            ("arm", "/subscriptions/x", text.clone(), Sink::Arm),
            ("model-gateway", "/api/v1/keys", text.clone(), Sink::ModelGateway),
            ("stripe", "/v1/customers", text.clone(), Sink::Stripe),
            ("api", "/stripe/webhook", text.clone(), Sink::Stripe),
            ("api", "/billing/checkout", text.clone(), Sink::Browser),
            ("api", "/telegram/webhook", text.clone(), Sink::Telegram),
            ("api", "/telegram/relay/x/bot1:a/sendMessage", text.clone(), Sink::Relay),
            ("api", "/api/v1/integrations/runtime/x/gmail/messages/", text.clone(), Sink::Tools),
            ("api", "/oauth/google/callback", text.clone(), Sink::Browser),
        ] {
            let journal = Journal::new();
            let place = journal.record(Entry::new(simulator, "POST", path, &HeaderMap::new(), body.clone().into()));
            journal.record_answer(place, StatusCode::OK, &HeaderMap::new(), body.into());
            let markers = [Marker::new("a secret", secret.clone(), &[])];
            let found = complaints(&markers, &journalled(&journal));
            let expected = format!("a secret leaked into {sink:?}");
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{text} by {simulator} {path}: {found:?}");
        }
    }
}

#[test]
fn a_marker_that_is_not_where_it_belongs_is_missed() {
    let secret = unique("secret");
    let emission = |sink| Emission { sink, place: String::new(), text: secret.clone() };
    let markers = [Marker::new("a secret", secret.clone(), &[Sink::Runtime, Sink::Inbound])];
    assert_eq!(complaints(&markers, &[emission(Sink::Inbound), emission(Sink::Runtime)]), Vec::<String>::new());
    assert!(complaints(&markers, &[emission(Sink::Inbound)])[0].contains("was not seen in Runtime"));
}
