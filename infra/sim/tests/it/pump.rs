//! The stand-ins for SQS and its event source keep the limits of the real ones.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::ChatId;
use nbhd::queue::{Queues, Updates};
use nbhd_sim::journal::Journal;
use nbhd_sim::pump::{Limits, Pump, Report};
use nbhd_sim::sqs::{INBOUND, INBOUND_DLQ, MAX_BYTES, Sqs};

const VISIBILITY: Duration = Duration::from_secs(180);

type Answer = Result<SqsBatchResponse, &'static str>;

struct World {
    clock: Clock,
    sqs: Sqs,
    updates: Updates,
}

impl World {
    async fn start() -> Self {
        Self::on(Clock::manual(Timestamp::from_seconds(1_795_262_400))).await
    }

    async fn on(clock: Clock) -> Self {
        let sqs = Sqs::start(&clock, &Journal::new()).await.expect("a free port");
        let env = Env::from_pairs([
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_SQS", sqs.base_url()),
        ]);
        let updates = Queues::new(&env).expect("complete settings").updates(&sqs.url(INBOUND));
        Self { clock, sqs, updates }
    }

    async fn queue(&self, chat: i64, update_id: i64) {
        self.updates.send(ChatId(chat), update_id, b"{}").await.expect("queued");
    }

    async fn drain<F: Future<Output = Answer>>(&self, limits: Limits, handler: impl Fn(SqsEvent) -> F) -> Report {
        Pump::new(&self.sqs, INBOUND, &self.clock, limits, handler).drain().await
    }

    fn waiting(&self) -> usize {
        self.sqs.messages(INBOUND).len()
    }
}

fn attribute<'a>(event: &'a SqsEvent, name: &str) -> &'a str {
    &event.records[0].attributes[name]
}

#[tokio::test]
async fn an_event_is_what_lambda_would_send() {
    let world = World::start().await;
    world.updates.send(ChatId(-7), 42, "\u{fffe}".as_bytes()).await.expect("queued");
    let seen = RefCell::new(None);
    world
        .drain(Limits::default(), async |event| {
            seen.replace(Some(event));
            Ok(SqsBatchResponse::default())
        })
        .await;
    let event = seen.take().expect("one event");
    assert_eq!(event.records.len(), 1);
    for (name, value) in [
        ("MessageGroupId", "-7"),
        ("MessageDeduplicationId", "42"),
        ("SentTimestamp", "1795262400000"),
        ("ApproximateReceiveCount", "1"),
    ] {
        assert_eq!(attribute(&event, name), value);
    }
    let record = &event.records[0];
    assert_eq!(record.message_attributes["encoding"].string_value.as_deref(), Some("base64"));
    assert_eq!(record.event_source_arn.as_deref(), Some("arn:aws:sqs:us-east-1:000000000000:inbound.fifo"));
}

#[tokio::test]
async fn at_most_one_invocation_a_group_and_no_more_than_the_cap_in_all() {
    let world = World::start().await;
    for update_id in 0..60 {
        world.queue(update_id % 20, update_id).await;
    }
    let under_way = RefCell::new(HashSet::new());
    let limits = Limits { concurrency: 8, ..Limits::default() };
    let report = world
        .drain(limits, async |event| {
            let group = attribute(&event, "MessageGroupId").to_owned();
            assert!(under_way.borrow_mut().insert(group.clone()), "two of a group at once");
            tokio::task::yield_now().await;
            under_way.borrow_mut().remove(&group);
            Ok(SqsBatchResponse::default())
        })
        .await;
    assert_eq!((report.done, report.most_at_once, world.waiting()), (60, 8, 0));
}

#[tokio::test]
async fn what_did_not_succeed_comes_again_after_the_visibility_timeout() {
    let reported = |event: SqsEvent| {
        let mut response = SqsBatchResponse::default();
        response.add_failure(event.records[0].message_id.clone().expect("an id"));
        Ok(response)
    };
    let of_another = |_| {
        let mut response = SqsBatchResponse::default();
        response.add_failure("another message");
        Ok(response)
    };
    let panicking = |_| panic!("on purpose");
    let failing = |_| Err("failed");
    let ways: [&dyn Fn(SqsEvent) -> Answer; 4] = [&reported, &of_another, &panicking, &failing];
    for way in ways {
        let world = World::start().await;
        world.queue(1, 1).await;
        let report = world.drain(Limits::default(), async |event| way(event)).await;
        assert_eq!((report.done, report.invocations(), world.waiting()), (0, 1, 1));

        world.clock.advance(VISIBILITY - Duration::from_millis(1));
        assert_eq!(world.drain(Limits::default(), async |event| way(event)).await.invocations(), 0);
        world.clock.advance(Duration::from_millis(1));
        let again = world
            .drain(Limits::default(), async |event| {
                assert_eq!(attribute(&event, "ApproximateReceiveCount"), "2");
                Ok(SqsBatchResponse::default())
            })
            .await;
        assert_eq!((again.done, world.waiting()), (1, 0));
    }
}

#[tokio::test]
async fn an_invocation_that_takes_too_long_is_dropped_where_it_stands() {
    let world = World::start().await;
    world.queue(1, 1).await;
    let limits = Limits { timeout: Duration::from_millis(20), ..Limits::default() };
    let report = world.drain(limits, |_| std::future::pending()).await;
    assert_eq!((report.timed_out, world.waiting()), (1, 1));
}

#[tokio::test]
async fn success_after_the_message_became_visible_again_deletes_nothing() {
    let world = World::start().await;
    world.queue(1, 1).await;
    let report = world
        .drain(Limits::default(), async |_| {
            world.clock.advance(VISIBILITY);
            Ok(SqsBatchResponse::default())
        })
        .await;
    assert_eq!((report.too_late, report.done), (200, 0), "it is redelivered until the queue's own limit");
    assert_eq!(world.sqs.messages(INBOUND_DLQ).len(), 1);
}

#[tokio::test]
async fn received_200_times_it_leaves_for_the_dead_letter_queue() {
    let world = World::start().await;
    world.queue(1, 1).await;
    let failing = async |_| Answer::Err("failed");
    let report = Pump::new(&world.sqs, INBOUND, &world.clock, Limits::default(), failing).run_until_idle().await;
    assert_eq!((report.crashed, world.waiting()), (200, 0));
    assert_eq!(world.sqs.messages(INBOUND_DLQ).len(), 1);
}

#[tokio::test]
async fn the_live_pump_hears_of_new_messages_and_of_room() {
    let world = World::on(Clock::System).await;
    let handled = Cell::new(0);
    let limits = Limits { concurrency: 2, ..Limits::default() };
    let pump = Pump::new(&world.sqs, INBOUND, &world.clock, limits, async |_| {
        tokio::task::yield_now().await;
        handled.set(handled.get() + 1);
        Ok::<_, &str>(SqsBatchResponse::default())
    });
    let feed = async {
        for update_id in 0..10 {
            world.queue(update_id, update_id).await;
        }
        while handled.get() < 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = feed => {}
        _ = pump.run() => {}
    }
    assert_eq!(handled.get(), 10);
}

#[tokio::test]
async fn what_sqs_refuses_is_refused_over_the_wire_too() {
    let world = World::start().await;
    world.updates.send(ChatId(1), 1, &vec![b'x'; MAX_BYTES]).await.expect("exactly as much as SQS takes");
    let too_large = world.updates.send(ChatId(1), 2, &vec![b'x'; MAX_BYTES + 1]).await.expect_err("too large");
    assert!(too_large.to_string().contains("InvalidParameterValue"), "{too_large}");
    let unknown = world.updates.delay_redelivery("no receipt", Duration::from_secs(1)).await.expect_err("unknown");
    assert!(unknown.to_string().contains("ReceiptHandleIsInvalid"), "{unknown}");
    world.sqs.faults.set_down(true);
    assert!(world.updates.send(ChatId(1), 3, b"{}").await.is_err());
}
