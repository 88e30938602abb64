//! Plays recorded histories again, and makes them short.

use nbhd::queue::LifecycleJob;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::sqs::REFRESH;
use serde_json::json;

use super::disruption::Stopped;
use super::history::{Disruption, Event, EventKind, History, Meanwhile, at};
use super::observer::Violation;
use super::world::World;

/// What became of a history that was played again.
pub(super) struct Played {
    /// The promise that was broken.
    pub(super) violation: Option<Violation>,
    pub(super) story: String,
    /// Faults that no invocation came to: what is asked has changed since they were recorded.
    pub(super) unmet: Vec<Event>,
}

/// Plays a history alone, then lets its faults stop and time pass.
pub(super) fn replay(history: &History) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    runtime.block_on(async {
        let person = history.setting.person;
        let world = World::start(0, Some(history.setting.dunning), None).await;
        world.is_replay.set(true);
        for event in &history.events {
            world.play_event(person, event).await;
            if world.violation().is_some() {
                break;
            }
        }
        world.finish().await;
        let story = world.with(person, |person| person.story.join("\n  "));
        Played { violation: world.violation(), story, unmet: world.unmet.take() }
    })
}

/// Leaves out whatever can be left out while the same promise is broken.
pub(super) fn shrink(history: &History) -> History {
    let mut shortest = history.clone();
    let still_breaks =
        |shorter: &History| replay(shorter).violation.is_some_and(|found| found.broke == history.setting.broke);
    if !still_breaks(&shortest) {
        return shortest;
    }
    loop {
        let Some(shorter) = shorter(&shortest).into_iter().find(|shorter| still_breaks(shorter)) else {
            return shortest;
        };
        shortest = shorter;
    }
}

/// Every history that is one event or one fault shorter, the last events first.
fn shorter(history: &History) -> Vec<History> {
    let with = |events: Vec<Event>| History { events, ..history.clone() };
    let mut all = Vec::new();
    for place in (0..history.events.len()).rev() {
        let mut events = history.events.clone();
        events.remove(place);
        all.push(with(events));
    }
    for (place, event) in history.events.iter().enumerate() {
        for kind in simpler(&event.kind) {
            let mut events = history.events.clone();
            events[place].kind = kind;
            all.push(with(events));
        }
    }
    all
}

fn simpler(kind: &EventKind) -> Vec<EventKind> {
    let (disruption, with): (&Disruption, Box<dyn Fn(Disruption) -> EventKind>) = match kind {
        EventKind::Post { kind, nth, disruption } => {
            (disruption, Box::new(|disruption| EventKind::Post { kind: kind.clone(), nth: *nth, disruption }))
        }
        EventKind::Reconcile { disruption } => (disruption, Box::new(|disruption| EventKind::Reconcile { disruption })),
        EventKind::Act(_) | EventKind::OtherWorker | EventKind::TokenJobs | EventKind::KeysAreRolled => {
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    if !disruption.is_none() {
        all.push(with(Disruption::None));
    }
    if let Disruption::Hold { at, meanwhile: Some(meanwhile) } = disruption {
        let Meanwhile { events, until, is_frozen } = meanwhile.clone();
        for place in 0..events.len() {
            let mut events = events.clone();
            events.remove(place);
            let meanwhile = Some(Meanwhile { events, until, is_frozen });
            all.push(with(Disruption::Hold { at: at.clone(), meanwhile }));
        }
    }
    all
}

impl World {
    async fn play_event(&self, number: usize, event: &Event) {
        self.advance_to(at(event.at)).await;
        self.drain_token_jobs(&self.refresh).await;
        match &event.kind {
            EventKind::Act(act) => self.perform(number, *act).await,
            EventKind::Post { kind, nth, disruption } => {
                if let Some(letter) = self.find_letter(number, kind, *nth) {
                    let (met, _) = self.post_disrupted(&letter, disruption.clone()).await;
                    self.note_unmet(event, disruption, &met);
                }
            }
            EventKind::Reconcile { disruption } => {
                let tenant_id = self.with(number, |person| person.tenant);
                let body = serde_json::to_string(&LifecycleJob::Reconcile { tenant_id }).expect("JSON");
                let batch = json!({ "Records": [{ "messageId": "1", "body": body }] });
                let batch = serde_json::from_value(batch).expect("a batch");
                let (met, _) = Box::pin(self.reconcile_disrupted(number, batch, disruption.clone())).await;
                self.note_unmet(event, disruption, &met);
            }
            EventKind::OtherWorker => self.reconcile_elsewhere(number).await,
            EventKind::KeysAreRolled => self.roll_keys().await,
            EventKind::TokenJobs => {}
        }
        self.drain_token_jobs(&self.refresh).await;
    }

    fn note_unmet(&self, event: &Event, recorded: &Disruption, met: &Disruption) {
        if met.is_none() && !recorded.is_none() {
            self.unmet.borrow_mut().push(event.clone());
        }
    }

    pub(super) async fn play_meanwhile(&self, number: usize, kind: &EventKind) {
        match kind {
            EventKind::Act(act) => self.perform(number, *act).await,
            EventKind::Post { kind, nth, .. } => {
                if let Some(letter) = self.find_letter(number, kind, *nth) {
                    self.post_meanwhile(&letter).await;
                }
            }
            EventKind::Reconcile { .. } | EventKind::OtherWorker => self.reconcile_elsewhere(number).await,
            EventKind::KeysAreRolled => self.roll_keys().await,
            EventKind::TokenJobs => self.drain_token_jobs(&self.second_sandbox).await,
        }
    }

    pub(super) async fn drain_token_jobs(&self, app: &scheduled_refresh::App) {
        let limits = Limits { concurrency: 1, timeout: std::time::Duration::from_secs(60) };
        let refresh = |event| async move {
            Ok::<_, Stopped>(Box::pin(scheduled_refresh::process_batch(app, event, "model")).await.1)
        };
        let report = Pump::new(&self.sqs, REFRESH, &self.clock, limits, refresh).drain().await;
        if report.invocations() > 0 {
            self.check_google().await;
        }
    }
}

/// Recorded histories that broke a promise once.
macro_rules! recorded {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                assert_kept(&History::parse(include_str!(concat!("recorded/", stringify!($name), ".jsonl"))));
            }
        )+
    };
}

recorded! {
    active_unpaid_917
    former_key_on_410128
    left_at_the_gateway_759
    left_at_the_gateway_820
    left_in_azure_308
    left_in_azure_479
    left_in_azure_856
    not_asked_yet_30012
    paused_anew_10
    ready_told_twice_129
    ready_told_twice_145
    ready_told_twice_255
    ready_told_twice_366
    ready_told_twice_424
    ready_told_twice_559
    ready_told_twice_619
    ready_told_twice_639
    ready_told_twice_708
    stale_deletion_602855
    stale_view_300798
    stopped_late_200454
    stopped_unasked_30094
    suspended_late_30015
    under_way_100467
}

fn assert_kept(history: &History) {
    let Played { violation, story, unmet } = replay(history);
    assert!(violation.is_none(), "broken again: {violation:?}\n  {story}");
    assert!(unmet.is_empty(), "it no longer meets the faults that broke it, record it anew: {unmet:?}\n  {story}");
}
