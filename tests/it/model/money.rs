//! What an operator gives, and what `billing-session` sells: the function itself makes the pages here.

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::gift::Gift;
use nbhd::domain::subscription::Tier;
use nbhd::domain::tenant::{Tenant, TenantRecord};
use nbhd::flows::billing_link::Destination;
use nbhd::queue::LifecycleJob;
use nbhd_sim::stripe::{BASIC, Card, Endpoint, Failure, PLUS};
use tower::ServiceExt as _;
use url::form_urlencoded;

use super::history::{Act, CheckoutEnd};
use super::world::{HOUR, World};

/// How long a trial is, in days.
pub(super) const TRIAL_DAYS: &str = "3";

impl World {
    /// What an operator does now about a gift.
    pub(super) fn draw_gift(&self, number: usize) -> Act {
        let runs = self.with(number, |person| person.gift_until.is_some_and(|until| until > self.clock.now()));
        if runs && self.chance.percent(40) {
            return Act::GiftIsRevoked;
        }
        let hours = self.chance.choice(&[1, 6, 24, 3 * 24, 8 * 24, 31 * 24]);
        Act::GiftIsGiven { plus: self.chance.percent(50), hours }
    }

    pub(super) fn draw_checking_out(&self) -> Act {
        let end = self.chance.choice(&[CheckoutEnd::Pays, CheckoutEnd::TurnsBack, CheckoutEnd::PaysOnEveryPage]);
        Act::ChecksOut { plus: self.chance.percent(50), end, after_stored_error: self.chance.percent(20) }
    }

    /// As `nbhd grant` does.
    pub(super) async fn give(&self, number: usize, plus: bool, hours: u64) {
        let until = self.clock.now() + HOUR * u32::try_from(hours).expect("some days");
        let tier = if plus { Tier::Plus } else { Tier::Basic };
        self.write_gift(number, true, Gift { until, tier }).await;
    }

    /// As `nbhd grant --revoke` does.
    pub(super) async fn revoke(&self, number: usize) {
        let gift = Gift { until: self.clock.now(), tier: Tier::Basic };
        self.write_gift(number, false, gift).await;
    }

    async fn write_gift(&self, number: usize, makes_tenant: bool, gift: Gift) {
        let (tenant_id, chat) = self.with(number, |person| (person.tenant, person.chat));
        for _ in 0..5 {
            let (record, now) = (self.store.tenant_record(tenant_id).await.expect("a calm table"), self.clock.now());
            let read_version = record.as_ref().map(TenantRecord::version);
            let row = match record {
                Some(TenantRecord::Live(row)) => *row,
                Some(TenantRecord::Deleted(_)) | None if !makes_tenant => return,
                Some(TenantRecord::Deleted(left)) => left.reactivate(chat, None, now),
                None => Tenant::new(tenant_id, chat),
            };
            let due = Some(Due::new(Kind::Reconcile, tenant_id, now));
            let given = Tenant { gift: Some(gift), due, ..row };
            if self.store.save_tenant(&given, read_version).await.is_ok() {
                self.with(number, |person| person.gift_until = Some(gift.until));
                self.observer.set_gift(tenant_id, gift.until);
                self.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await.expect("a calm queue");
                return;
            }
        }
    }

    /// The person presses a button on our page, and goes on at Stripe.
    pub(super) async fn check_out(&self, number: usize, plus: bool, end: CheckoutEnd, after_stored_error: bool) {
        let tier = if plus { Tier::Plus } else { Tier::Basic };
        if after_stored_error {
            let endpoint = if plus { Endpoint::CreateCheckout } else { Endpoint::CreateCustomer };
            self.stripe.faults.fail_next(endpoint, Failure::Stored);
            // Whatever it says: the next press is what counts.
            let _ = self.press(number, tier).await;
            self.stripe.faults.recover();
        }
        let page = match self.mutant.sell(self, number, tier).await {
            Some(page) => Some(page),
            None => self.press(number, tier).await.unwrap_or_else(|status| {
                let tenant = self.with(number, |person| person.tenant);
                self.observer.report_violation(tenant, "an error of Stripe's keeps a person from paying", status);
                None
            }),
        };
        let tenant = self.with(number, |person| person.tenant);
        let record = self.store.tenant_record(tenant).await.expect("a calm table");
        let Some(customer) = record.as_ref().and_then(|record| record.customer()).map(str::to_owned) else { return };
        let pages = self.with(number, |person| {
            person.customer = Some(customer.clone());
            person.pages.extend(page.clone());
            person.pages.clone()
        });
        self.record_truth(number);
        self.stripe.set_card(&customer, Card::Works);
        match end {
            CheckoutEnd::TurnsBack => {}
            CheckoutEnd::Pays => drop(page.map(|page| self.stripe.pays(&page))),
            CheckoutEnd::PaysOnEveryPage => pages.iter().for_each(|page| drop(self.stripe.pays(page))),
        }
        self.check_trials(number);
    }

    /// The address of Stripe's page; `None` where ours says something else, and its status where it has failed.
    async fn press(&self, number: usize, tier: Tier) -> Result<Option<String>, String> {
        let chat = self.with(number, |person| person.chat);
        let link = self.links.link_url(Destination::Checkout, chat, None, "A person", self.clock.now());
        let token = link.split_once("link=").map(|(_, token)| token).unwrap_or_default();
        let request = Request::post("/billing/checkout")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(format!("link={token}&tier={tier}")))
            .expect("a request");
        let Ok(answer) = self.billing.clone().oneshot(request).await;
        if answer.status().is_server_error() {
            let status = answer.status();
            let page = to_bytes(answer.into_body(), 1 << 20).await.unwrap_or_default();
            let page = String::from_utf8_lossy(&page);
            return Err(format!("{status}: {}", page.split("<code>").nth(1).unwrap_or_default()));
        }
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        Ok(location.map(str::to_owned))
    }

    /// A chat has one trial, however many pages, customers and lives it has.
    fn check_trials(&self, number: usize) {
        let tenant = self.with(number, |person| person.tenant);
        let reference = Some(tenant.to_string());
        let is_trial = |session: &nbhd_sim::stripe::Session| {
            session.reference == reference && session.trial_days.is_some() && session.subscription.is_some()
        };
        let trials = self.stripe.sessions().into_iter().filter(is_trial).count();
        if trials > 1 {
            self.observer.report_violation(tenant, "a chat has two trials", trials.to_string());
        }
    }

    /// What a careless function would sell a customer who has no subscription: a trial, whatever they had before.
    pub(super) async fn sell_carelessly(
        &self,
        stripe: &nbhd::providers::stripe::Client,
        number: usize,
        tier: Tier,
    ) -> Option<String> {
        let (tenant, chat, customer) =
            self.with(number, |person| (person.tenant, person.chat, person.customer.clone()));
        let customer = customer?;
        if self.stripe.subscriptions(&customer).iter().any(|known| !known.is_over()) {
            return None;
        }
        let price = if tier == Tier::Plus { PLUS } else { BASIC };
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("mode", "subscription"),
                ("customer", &customer),
                ("client_reference_id", &tenant.to_string()),
                ("line_items[0][price]", price),
                ("line_items[0][quantity]", "1"),
                ("subscription_data[trial_period_days]", TRIAL_DAYS),
                ("subscription_data[metadata][tenant_id]", &tenant.to_string()),
                ("subscription_data[metadata][chat_id]", &chat.to_string()),
                ("success_url", "https://nbhd.example/done"),
            ])
            .finish();
        let key = format!("careless-{tenant}-{}", self.clock.now());
        stripe.create("checkout/sessions", form, &key).await.ok()?.url
    }
}
