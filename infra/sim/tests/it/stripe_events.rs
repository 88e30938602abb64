//! The simulated Stripe's events: signed, at least once, in the disorder that was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use nbhd::clock::{Clock, Timestamp};
use nbhd_sim::journal::Journal;
use nbhd_sim::server::Server;
use nbhd_sim::stripe::{BASIC, Disorder, EVENTS, Stripe, SubscriptionStart, billing};

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    clock: Clock,
    journal: Journal,
    stripe: Stripe,
    answer: Arc<AtomicU16>,
    _webhook: Server,
}

impl World {
    async fn start() -> Self {
        let (clock, journal) = (Clock::manual(START), Journal::new());
        let stripe = Stripe::start(clock.clone(), &journal).await.expect("a free port");
        let answer = Arc::new(AtomicU16::new(200));
        let answers = Arc::clone(&answer);
        let webhook = post(async move || StatusCode::from_u16(answers.load(Ordering::SeqCst)).expect("a status"));
        let webhook = Server::start(Router::new().route("/stripe/webhook", webhook)).await.expect("a free port");
        stripe.deliver_to(&format!("{}/stripe/webhook", webhook.base_url()));
        Self { clock, journal, stripe, answer, _webhook: webhook }
    }

    /// Subscribes; `customer.created` is not told of customers made past the API, so this makes five events.
    fn subscribe(&self) -> String {
        let customer = self.stripe.has_customer(&[]);
        self.stripe.subscribes(&customer, BASIC, SubscriptionStart::Paid, &[]);
        customer
    }

    async fn delivered(&self) -> Vec<String> {
        self.stripe.deliver().await.into_iter().map(|attempt| attempt.event).collect()
    }
}

#[tokio::test]
async fn an_event_is_delivered_until_it_is_accepted_and_for_three_days() {
    let world = World::start().await;
    world.subscribe();
    world.answer.store(503, Ordering::SeqCst);
    assert_eq!(world.delivered().await.len(), 5);
    assert_eq!(world.delivered().await.len(), 0);
    world.clock.advance(MINUTE * 5);
    assert_eq!(world.delivered().await.len(), 5);
    world.answer.store(200, Ordering::SeqCst);
    world.clock.advance(MINUTE * 30);
    assert_eq!(world.delivered().await.len(), 5);
    assert_eq!(world.stripe.pending(), 0);

    world.answer.store(500, Ordering::SeqCst);
    world.stripe.disputes(&world.subscribe());
    let mut attempts = 0;
    while let Some(due) = world.stripe.next_due().filter(|due| *due < world.clock.now() + billing::MONTH / 2) {
        world.clock.set(due.max(world.clock.now()));
        attempts += world.delivered().await.len();
        if world.stripe.pending() == 0 {
            break;
        }
    }
    assert!(attempts > 6 * 8, "{attempts} attempts");
    assert_eq!(world.stripe.pending(), 0);
}

#[tokio::test]
async fn an_event_is_signed_by_every_secret_that_is_valid() {
    let world = World::start().await;
    let signatures = async || {
        world.stripe.disputes(&world.subscribe());
        world.delivered().await;
        let last = world.journal.entries_of(EVENTS).pop().expect("delivered");
        let header = last.header("stripe-signature").expect("signed").to_owned();
        assert!(header.starts_with(&format!("t={},v1=", world.clock.now().seconds())));
        header.matches(",v1=").count()
    };
    assert_eq!(signatures().await, 1);
    let old = world.stripe.webhook_secret();
    assert_ne!(world.stripe.rolls_webhook_secret(), old);
    assert_eq!(signatures().await, 2);
    world.clock.advance(MINUTE * 60 * 24);
    assert_eq!(signatures().await, 1);
}

#[tokio::test]
async fn disorder_is_as_told_and_the_same_for_the_same_seed() {
    let run = async |seed| {
        let world = World::start().await;
        let disorder = Disorder { seed, duplicates: 50, losses: 20, delay: MINUTE * 60 };
        world.stripe.disorders_deliveries(Some(disorder));
        for _ in 0..20 {
            world.subscribe();
        }
        let at_once = world.delivered().await.len();
        world.clock.advance(MINUTE * 60);
        let order = world.delivered().await;
        assert_eq!(world.stripe.pending(), 0);
        assert!(at_once < 100 && order.len() + at_once > 90, "{at_once} and {}", order.len());
        order
    };
    let once = run(7).await;
    assert_eq!(run(7).await, once);
    assert_ne!(run(8).await, once);
    assert!(!once.is_sorted());
    let mut distinct = once.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() < once.len(), "some come twice");
    assert!(distinct.len() < 100, "some are lost");
}
