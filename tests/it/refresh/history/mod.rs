//! A week of many connections while Google, vault and table fail at random and workers are killed anywhere.
//!
//! `NBHD_HISTORY=<connections>` makes it larger, `NBHD_SEED=<number>` another one; a run prints its seed and what
//! happened.

mod rows;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::stored_token::StoredFields;
use nbhd_sim::google::{self, Endpoint, Rotation};
use nbhd_sim::key_vault::{self, Operation};
use nbhd_sim::testbed::Testbed;
use nbhd_sim::{table, telegram};
use scheduled_refresh::{App, Report};
use secrecy::ExposeSecret as _;

use crate::refresh::world::World;
use rows::{connected, put};

const CONNECTIONS: usize = 2_000;
/// How many of them somebody uses.
const IN_USE: usize = 20;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const STEP: Duration = Duration::from_secs(3600);
const TICK: Duration = Duration::from_secs(5 * 60);

struct History {
    world: World,
    random: fastrand::Rng,
    /// A warm process; a kill ends it.
    app: Arc<App>,
    people: Vec<Person>,
    counts: BTreeMap<&'static str, usize>,
    /// Whether a connection may have ended since the last look.
    is_one_over: bool,
}

struct Person {
    tenant: TenantId,
    chat: ChatId,
    account: String,
    /// How often they ended the grant at Google.
    revocations: usize,
    /// Whether the connection was seen Expired.
    is_over: bool,
}

#[tokio::test]
async fn a_week_of_failures_and_kills_loses_no_token_and_repeats_no_message() {
    let number = |name, default| variable(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("NBHD_SEED", 11);
    let connections = number("NBHD_HISTORY", CONNECTIONS as u64) as usize;
    let mut history = History::begin(seed, connections).await;
    let end = history.world.clock.now() + WEEK;
    while history.world.clock.now() < end {
        history.world.advance(STEP);
        history.people_act().await;
        history.draw_faults();
        history.step().await;
        history.judge().await;
    }
    history.calm().await;
    history.print(seed);
    history.check().await;
}

impl History {
    async fn begin(seed: u64, connections: usize) -> Self {
        let (world, mut random) = (World::start().await, fastrand::Rng::with_seed(seed));
        let mut people = Vec::with_capacity(connections);
        for place in 0..connections {
            let chat = ChatId(10_000 + place as i64);
            let id = uuid::Uuid::from_u128(random.u128(..));
            let person = Person {
                tenant: id.into(),
                chat,
                account: format!("{place}@example.com"),
                revocations: 0,
                is_over: false,
            };
            world.google.has_account(&person.account, "Somebody", "Europe/Zurich");
            world.telegram.knows(chat.0, "Somebody");
            let tenant = Tenant { lifecycle: Lifecycle::Active, version: 1, ..Tenant::new(person.tenant, chat) };
            put(&world, "META", &tenant, person.tenant);
            let mut row = Integration { version: 1, ..connected(&world, &person) };
            if place >= IN_USE {
                // Long idle: its turn comes some time this week.
                let at = world.clock.now() + WEEK * random.u32(..1000) / 1000;
                (row.used_at, row.due) = (None, Some(refresh::due_entry(&row, at)));
            }
            put(&world, "INTEGRATION#gmail", &row, person.tenant);
            people.push(person);
        }
        let app = Arc::new(world.app());
        Self { world, random, app, people, counts: BTreeMap::new(), is_one_over: false }
    }

    /// Runtimes ask for tokens; a few people end the grant, or connect again after they were told.
    async fn people_act(&mut self) {
        let mut broker = self.world.broker();
        for place in 0..IN_USE.min(self.people.len()) {
            if self.random.u8(..10) < 3 {
                let row = self.row(place).await;
                let kill = self.kill();
                let asked = broker.access_token(Some(&row));
                let answer = self.world.journal.interruption().stop_after(kill, asked).await;
                if answer.is_none() {
                    broker = self.world.broker();
                }
                self.is_one_over |= !matches!(answer, Some(Ok(_)));
                self.count(match answer {
                    None => "runtime calls killed",
                    Some(Ok(_)) => "runtime calls answered",
                    Some(Err(_)) => "runtime calls denied",
                });
            }
        }
        let place = self.random.usize(..self.people.len());
        if !self.world.google.granted_scopes(&self.people[place].account).is_empty() {
            self.world.google.person_revokes(&self.people[place].account);
            self.people[place].revocations += 1;
            self.count("grants ended by their people");
        }
        // Whoever was told, one of those who use theirs, and somebody.
        let somebody = [self.random.usize(..self.people.len()), self.random.usize(..IN_USE.min(self.people.len()))];
        let told = self.people.iter().position(|person| person.is_over && self.random.u8(..3) == 0);
        for place in somebody.into_iter().chain(told) {
            if self.random.u8(..4) == 0 || self.people[place].is_over {
                self.reconnect(place).await;
            }
        }
    }

    /// As `oauth-callback` does it, also where the connection still stands; half of the time it fails to tidy up.
    async fn reconnect(&mut self, place: usize) {
        let read = self.row(place).await;
        let mut superseded = [read.superseded.as_slice(), std::slice::from_ref(&read.secret_version)].concat();
        if read.lease_until.is_some() {
            // In doubt: a worker may have written the latest version before it died.
            superseded.extend(self.world.azure.vault.versions(&read.secret_name).pop().map(|(version, _)| version));
        }
        let row = connected(&self.world, &self.people[place]).with_superseded(superseded.clone());
        self.world.table.faults.recover();
        self.world.store.save_integration(&row, Some(read.version)).await.expect("nobody else writes");
        if self.random.bool() {
            superseded.iter().for_each(|version| self.world.azure.vault.disables(&row.secret_name, version));
        }
        self.people[place].is_over = false;
        self.count(match read.status {
            Status::Active => "connections made anew while they stood",
            Status::Expired | Status::Revoked => "connections renewed by their people",
        });
    }

    /// Whoever's connection is over since the last look: Google said so, and says so still.
    async fn judge(&mut self) {
        if !std::mem::take(&mut self.is_one_over) {
            return;
        }
        let Ok(rows) = self.world.store.list_integrations().await else { return };
        let rows: BTreeMap<TenantId, Integration> = rows.into_iter().map(|row| (row.tenant_id, row)).collect();
        for person in &mut self.people {
            let is_over = rows[&person.tenant].status == Status::Expired;
            if is_over && !person.is_over {
                let granted = self.world.google.granted_scopes(&person.account);
                assert!(
                    granted.is_empty(),
                    "expired without a permanent error of Google's: {:?}",
                    rows[&person.tenant]
                );
            }
            person.is_over = is_over;
        }
    }

    /// What fails in this step.
    fn draw_faults(&mut self) {
        let World { google, azure, .. } = &self.world;
        let Testbed { table, telegram, .. } = &*self.world;
        let random = &mut self.random;
        google.faults.recover();
        azure.vault.faults.recover();
        google.rotates_refresh_tokens(if random.bool() { Rotation::WhenUsed } else { Rotation::Never });
        let failures = [
            google::Failure::Status(503),
            google::Failure::Throttled(Some(60)),
            google::Failure::NotJson,
            google::Failure::AnswerLost,
            google::Failure::OAuth("invalid_client"),
        ];
        let failure = failures[random.usize(..failures.len())].clone();
        match random.u8(..10) {
            0 => google.faults.fail_always(Endpoint::Token, failure),
            1..4 => (0..random.usize(1..4)).for_each(|_| google.faults.fail_next(Endpoint::Token, failure.clone())),
            _ => {}
        }
        let failures = [
            key_vault::Failure::Throttled(20),
            key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE),
            key_vault::Failure::AnswerLost,
            key_vault::Failure::NotJson,
        ];
        let failure = failures[random.usize(..failures.len())];
        let operations = [Operation::Get, Operation::Set, Operation::Update];
        match random.u8(..10) {
            0 => azure.vault.faults.fail_all(failure),
            1..5 => azure.vault.faults.fail_next(operations[random.usize(..3)], failure),
            _ => {}
        }
        telegram.faults.recover();
        let failures = [
            telegram::Failure::Throttled(90),
            telegram::Failure::Status(StatusCode::BAD_GATEWAY),
            telegram::Failure::AnswerLost,
            telegram::Failure::NotJson,
        ];
        if random.u8(..10) < 4 {
            let failure = failures[random.usize(..failures.len())].clone();
            telegram.faults.fail_next(["getChat", "sendMessage"][random.usize(..2)], failure);
        }
        if random.u8(..10) < 3 {
            let (passing, has_effect) = (random.usize(..60), random.bool());
            table.faults.recover();
            table
                .faults
                .fail_any_after(passing, if has_effect { table::Failure::AnswerLost } else { table::Failure::Down });
        }
    }

    /// One tick, or two at once, and what comes of them; each may be killed.
    async fn step(&mut self) {
        let kill = if self.random.u8(..8) == 0 { self.random.usize(1..18) } else { usize::MAX };
        let stops = self.world.journal.interruption().clone();
        let app = Arc::clone(&self.app);
        let tick = async || scheduled_refresh::enqueue_due(&app, "tick").await;
        if self.random.u8(..6) == 0 {
            self.count("ticks that overlapped");
            stops.stop_after(kill, async { tokio::join!(tick(), tick()) }).await;
        } else if stops.stop_after(kill, tick()).await.is_none() {
            self.count("ticks killed");
            self.app = Arc::new(self.world.app());
        }
        let kill = self.kill();
        match stops.stop_after(kill, self.world.run_jobs_in(|| Arc::clone(&app))).await {
            Some(report) => {
                self.is_one_over |= report.expired > 0;
                self.add(report);
            }
            None => {
                self.is_one_over = true;
                self.count("batches killed");
                self.app = Arc::new(self.world.app());
            }
        }
    }

    /// The fault's end: two hours, and everything is done that is due.
    async fn calm(&mut self) {
        self.world.google.faults.recover();
        self.world.azure.vault.faults.recover();
        self.world.telegram.faults.recover();
        self.world.table.faults.recover();
        for _ in 0..24 {
            self.world.advance(TICK);
            scheduled_refresh::enqueue_due(&self.app, "tick").await;
            let report = self.world.run_jobs_in(|| Arc::clone(&self.app)).await;
            self.add(report);
        }
    }

    async fn check(&mut self) {
        let now = self.world.clock.now();
        assert_eq!(self.world.tick().await.due, 0, "nothing stays overdue");
        let (mut expired, mut told) = (0, 0);
        let rows = self.world.store.list_integrations().await.expect("a table");
        let rows: BTreeMap<TenantId, Integration> = rows.into_iter().map(|row| (row.tenant_id, row)).collect();
        assert_eq!(rows.len(), self.people.len());
        for person in &self.people {
            let row = &rows[&person.tenant];
            assert!(!row.is_due(now) && !row.is_leased(now), "{row:?}");
            let sent = self.world.telegram.sent_to(person.chat.0).len();
            assert!(sent <= person.revocations, "{sent} messages of {} endings", person.revocations);
            (expired, told) = (expired + person.revocations, told + sent);
            if row.status == Status::Expired {
                let granted = self.world.google.granted_scopes(&person.account);
                assert!(granted.is_empty(), "expired without a permanent error of Google's");
                continue;
            }
            assert_eq!((row.failures, row.failure), (0, None));
            if self.world.google.granted_scopes(&person.account).is_empty() {
                // Not noticed yet: its turn has not come since.
                continue;
            }
            let versions = self.world.azure.vault.versions(&row.secret_name);
            let readable: Vec<&String> = versions.iter().filter(|(_, on)| *on).map(|(version, _)| version).collect();
            assert_eq!(readable, [&row.secret_version], "superseded versions are readable: {row:?}, {versions:?}");
            let named = versions.iter().find(|(version, _)| *version == row.secret_version);
            assert!(named.is_some_and(|(_, enabled)| *enabled), "{row:?}");
            let value = self.world.azure.vault.version_value(&row.secret_name, &row.secret_version).expect("a version");
            let kept = StoredFields::parse(&value.into()).refresh_token.expect("a refresh token");
            assert!(self.world.google.accepts_refresh_token(kept.expose_secret()), "a refresh token was lost");
        }
        let killed = self.counts.get("batches killed").copied().unwrap_or_default();
        assert!(expired > 0 && told > 0 && killed > 0, "the week was too quiet");
    }

    fn kill(&mut self) -> usize {
        if self.random.u8(..4) == 0 { self.random.usize(1..80) } else { usize::MAX }
    }

    async fn row(&self, place: usize) -> Integration {
        let read = self.world.store.load_integration(self.people[place].tenant, Provider::Gmail).await;
        match read {
            Ok(row) => row.expect("a row"),
            // The failure was meant for someone else.
            Err(_) => {
                let read = self.world.store.load_integration(self.people[place].tenant, Provider::Gmail).await;
                read.expect("once only").expect("a row")
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn add(&mut self, report: Report) {
        for (what, count) in [
            ("refreshed", report.refreshed),
            ("expired", report.expired),
            ("deferred", report.deferred),
            ("failed", report.failed),
            ("skipped, leased", report.skipped_leased),
            ("unchanged", report.unchanged),
            ("notified", report.notified),
        ] {
            *self.counts.entry(what).or_default() += count;
        }
    }

    fn print(&self, seed: u64) {
        let sent: usize = self.people.iter().map(|person| self.world.telegram.sent_to(person.chat.0).len()).sum();
        let ended = self.people.iter().filter(|person| person.revocations > 0).count();
        let readable = |person: &Person| {
            let name = Integration::secret_name(person.tenant, Provider::Gmail);
            self.world.azure.vault.versions(&name).into_iter().filter(|(_, on)| *on).count()
        };
        let orphans: usize = self.people.iter().map(|person| readable(person).saturating_sub(1)).sum();
        let calls = self.world.google.calls(Endpoint::Token);
        let mut out = std::io::stdout().lock();
        let _ = writeln!(
            out,
            "history (seed {seed}): a week of {} connections, {calls} token calls, {sent} messages to {} people whose \
             grant ended, {orphans} superseded versions left readable\n{:#?}",
            self.people.len(),
            ended,
            self.counts
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a knob of this test, not a setting of the system")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
