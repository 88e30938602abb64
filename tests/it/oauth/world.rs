//! What the tests of connecting share: two subscribers, their browsers, Google, the vault and both functions.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use nbhd::clock::{Clock, Timestamp, Waiter};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::person::Person;
use nbhd::domain::route::Route;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::connect_link::{Links, Services};
use nbhd::flows::stored_token::StoredFields;
use nbhd::store::Store;
use nbhd_sim::azure::Azure;
use nbhd_sim::gateway;
use nbhd_sim::google::{Google, Scopes};
use nbhd_sim::rights::env_of;
use nbhd_sim::testbed::{PUBLIC_BASE_URL, Testbed, WEBHOOK_SECRET};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const BASE: &str = PUBLIC_BASE_URL;
pub(crate) const ADA: &str = "ada@gmail.com";
pub(crate) const ADA_CHAT: i64 = 1001;
pub(crate) const BEA_CHAT: i64 = 1002;
/// Somebody without an assistant.
pub(crate) const STRANGER: i64 = 1009;
/// After this time no request for a sign-in is at work any more.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(30);
const CHROME: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
                      Mobile Safari/537.36";

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) google: Google,
    pub(crate) azure: Azure,
    pub(crate) store: Store,
    pub(crate) links: Links,
    pub(crate) env: Env,
    pub(crate) ada: TenantId,
    pub(crate) bea: TenantId,
    functions: Router,
    next_update: AtomicI64,
}

/// A browser with its own cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    functions: Router,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) user_agent: &'static str,
}

/// What a browser was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) body: String,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|env| env).await
    }

    /// The same, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(Env) -> Env) -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(1_795_000_000));
        let mut testbed = Testbed::start(clock.clone()).await.expect("a test bed");
        let google = testbed.start_google().await.expect("Google");
        let azure = testbed.start_azure().await.expect("a vault");
        testbed.telegram.knows(ADA_CHAT, "Ada");
        testbed.telegram.knows(BEA_CHAT, "Bea");
        google.has_account(ADA, "Ada", "Europe/Berlin");
        google.has_account("bea@gmail.com", "Bea", "America/Lima");
        for services in Services::ALL {
            google.allows_redirect_to(&format!("{BASE}/oauth/{services}/callback"));
        }
        let env = change(testbed.env());
        let (ada, bea) = (TenantId::random(), TenantId::random());
        let world = Self {
            store: Store::from_env(&env).expect("complete settings"),
            links: Links::from_env(&env).expect("complete settings"),
            functions: functions(&env, &clock),
            next_update: AtomicI64::new(1),
            testbed,
            google,
            azure,
            env,
            ada,
            bea,
        };
        world.store.save_tenant(&tenant(ada, ADA_CHAT), None).await.expect("a new tenant");
        world.store.save_tenant(&tenant(bea, BEA_CHAT), None).await.expect("a new tenant");
        for (tenant_id, chat) in [(ada, ADA_CHAT), (bea, BEA_CHAT)] {
            world.store.put_route(&Route::new(ChatId(chat), tenant_id)).await.expect("a new route");
        }
        world.table.clear_calls();
        world
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser { functions: self.functions.clone(), cookies: BTreeMap::new(), user_agent: CHROME }
    }

    /// A browser whose functions let time pass as `waiter` does.
    pub(crate) fn browser_with_waiter(&self, waiter: Waiter) -> Browser {
        Browser { functions: functions_with(|app| app.with_waiter(waiter), &self.env, &self.clock), ..self.browser() }
    }

    /// A browser whose callback gives up after `patience`.
    pub(crate) fn browser_with_timeout(&self, patience: Duration) -> Browser {
        let change = |app: oauth_callback::App| app.with_timeout(patience);
        Browser { functions: functions_with(change, &self.env, &self.clock), ..self.browser() }
    }

    /// A fresh sandbox of both functions for a browser that has its cookies already.
    pub(crate) fn in_new_sandbox(&self, browser: &Browser) -> Browser {
        Browser { functions: functions(&self.env, &self.clock), ..browser.clone() }
    }

    /// The link that the bot sends to Ada.
    pub(crate) fn link(&self, services: Services) -> String {
        self.links.connect_url(services, self.ada, &person("Ada Lovelace", ADA_CHAT), self.clock.now())
    }

    /// Opens a link, presses the button, and returns the address of Google's consent page.
    pub(crate) async fn consent_page(&self, browser: &mut Browser, link: &str) -> String {
        let page = browser.get(link).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let answer = browser.submit(&page).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        answer.header("location").to_owned()
    }

    /// Goes with Ada from a link through the consent; returns the address that Google sends the browser back to.
    pub(crate) async fn consent_redirect(&self, browser: &mut Browser, services: Services, scopes: &Scopes) -> String {
        let consent = self.consent_page(browser, &self.link(services)).await;
        self.google.consents(&consent, ADA, scopes).expect("Google knows client, redirect and scopes")
    }

    /// The same, and the confirmation from her chat; the address leads on from there.
    pub(crate) async fn confirmed_redirect(
        &self,
        browser: &mut Browser,
        services: Services,
        scopes: &Scopes,
    ) -> String {
        let back = self.consent_redirect(browser, services, scopes).await;
        self.confirm(browser, &back, ADA_CHAT).await;
        back
    }

    /// Comes back from Google, and confirms from a chat.
    pub(crate) async fn confirm(&self, browser: &mut Browser, back: &str, chat: i64) {
        let page = browser.get(back).await;
        let answer = self.sends_start(chat, &page).await.expect("an answer");
        assert!(answer.contains("Go back to the page"), "{answer}");
    }

    /// A chat opens the bot by the button of a waiting page; what the bot answers.
    pub(crate) async fn sends_start(&self, chat: i64, page: &Answer) -> Option<String> {
        self.writes(chat, &format!("/start {}", page.start_token())).await
    }

    /// A chat writes to the bot; what the bot answers.
    pub(crate) async fn writes(&self, chat: i64, text: &str) -> Option<String> {
        let id = self.next_update.fetch_add(1, Ordering::Relaxed);
        self.posts(&message(id, chat, text)).await
    }

    /// Telegram posts an update; what the bot answers.
    pub(crate) async fn posts(&self, update: &Value) -> Option<String> {
        let secret = [("x-telegram-bot-api-secret-token", WEBHOOK_SECRET)];
        let answer = self.browser().post("/telegram/webhook", &secret, update.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let reply: Value = serde_json::from_str(&answer.body).ok()?;
        reply["text"].as_str().map(str::to_owned)
    }

    /// The whole way; returns the result page.
    pub(crate) async fn connect(&self, browser: &mut Browser, services: Services, scopes: &Scopes) -> Answer {
        let back = self.confirmed_redirect(browser, services, scopes).await;
        browser.get(&back).await
    }

    pub(crate) async fn row(&self, tenant: TenantId, provider: Provider) -> Option<Integration> {
        self.store.load_integration(tenant, provider).await.expect("the table is up")
    }

    /// What the vault holds for a connection of Ada.
    pub(crate) fn secret(&self, provider: Provider) -> Option<StoredFields> {
        let value = self.azure.vault.value(&Integration::secret_name(self.ada, provider))?;
        Some(StoredFields::parse(&value.into()))
    }

    pub(crate) async fn tenant(&self) -> Tenant {
        self.store.tenant(self.ada).await.expect("the table is up").expect("a row")
    }

    /// Whether nothing at all was asked of the table and the vendors.
    pub(crate) fn has_no_calls(&self) -> bool {
        self.table.calls().is_empty() && self.journal.entries().is_empty()
    }
}

impl Browser {
    /// Follows a link, as from a chat or a redirect of Google's.
    pub(crate) async fn get(&mut self, address: &str) -> Answer {
        self.send(Method::GET, address, &[("sec-fetch-site", "cross-site")], String::new()).await
    }

    /// Presses the button of a page of ours.
    pub(crate) async fn submit(&mut self, page: &Answer) -> Answer {
        let (action, form) = page.form();
        self.post(&action, &[("sec-fetch-site", "same-origin"), ("origin", BASE)], form).await
    }

    pub(crate) async fn post(&mut self, address: &str, headers: &[(&str, &str)], form: String) -> Answer {
        self.send(Method::POST, address, headers, form).await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        address: &str,
        headers: &[(&str, &str)],
        form: String,
    ) -> Answer {
        let path = address.strip_prefix(BASE).unwrap_or(address);
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "nbhd.example");
        request = request.header(header::USER_AGENT, self.user_agent);
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form)).expect("a request");
        let response = self.functions.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let answer =
            Answer { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() };
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let (cookie, _) = set.to_str().expect("text").split_once(';').expect("attributes");
            let (name, value) = cookie.split_once('=').expect("a value");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The stable code on the page.
    pub(crate) fn code(&self) -> &str {
        between(&self.body, "<code>", "</code>").unwrap_or_default()
    }

    /// The start token that the page's button passes on.
    pub(crate) fn start_token(&self) -> &str {
        between(&self.body, "?start=", "\"").unwrap_or_else(|| panic!("no button to the bot: {}", self.body))
    }

    /// The page's form: where it leads, and what it submits.
    pub(crate) fn form(&self) -> (String, String) {
        let action = between(&self.body, "action=\"", "\"").expect("a form").to_owned();
        let name = between(&self.body, "name=\"link\"", ">").map_or("undo", |_| "link");
        let field = between(&self.body, &format!("name=\"{name}\" value=\""), "\"").expect("a field");
        (action, format!("{name}={field}"))
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}

fn functions(env: &Env, clock: &Clock) -> Router {
    functions_with(|app| app, env, clock)
}

fn functions_with(change: impl FnOnce(oauth_callback::App) -> oauth_callback::App, env: &Env, clock: &Clock) -> Router {
    let authorize =
        oauth_authorize::App::new(&env_of("oauth-authorize", env), clock.clone()).expect("complete settings");
    let callback =
        change(oauth_callback::App::new(&env_of("oauth-callback", env), clock.clone()).expect("complete settings"));
    let webhook =
        telegram_webhook::App::new(&env_of("telegram-webhook", env), clock.clone()).expect("complete settings");
    let routes = oauth_authorize::router(authorize).merge(oauth_callback::router(callback));
    let routes = routes.merge(telegram_webhook::router(webhook));
    gateway::wrap(routes, clock)
}

pub(crate) fn tenant(tenant_id: TenantId, chat: i64) -> Tenant {
    Tenant { lifecycle: Lifecycle::Active, ..Tenant::new(tenant_id, ChatId(chat)) }
}

pub(crate) fn person(name: &str, chat: i64) -> Person {
    Person::from_json(&json!({ "id": chat, "first_name": name }))
}

/// A message that a person writes in their own chat.
pub(crate) fn message(update_id: i64, chat: i64, text: &str) -> Value {
    json!({"update_id": update_id, "message": {
        "message_id": update_id, "date": 1_795_000_000, "text": text, "chat": {"id": chat, "type": "private"},
        "from": {"id": chat, "is_bot": false, "first_name": "Somebody"},
    }})
}
