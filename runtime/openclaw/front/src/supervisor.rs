//! Runs a program and whatever it starts: starts it again when it ends, and stops it as told.
//!
//! It has to run as the program's own user, since it sends signals. What the program writes has a person's words in it,
//! so that none of it is kept here.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nbhd::clock::Waiter;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::lease::Uptime;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A program that ran for so long starts again at once.
const STABLE_AFTER: Duration = Duration::from_secs(600);

/// What is run, and with which environment alone.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, which may have secrets of this container.
    pub environment: Vec<(String, secrecy::SecretString)>,
    /// How long it may take to end after a `SIGTERM`.
    pub grace: Duration,
}

/// What is to become of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It does not run; if it does, it is killed at once.
    Halt,
    /// It runs, and is started again when it ends.
    Run,
    /// It ends within its grace, and nothing is started any more.
    Terminate,
}

/// How a run of the program went.
enum Run {
    /// It ended by itself.
    Ended(Option<ExitStatus>),
    /// It was stopped, because of an order.
    Stopped,
}

/// Runs the program as `orders` say, until they say [`Order::Terminate`] or nobody can order any more, which kills it:
/// whoever ordered may have lost what allowed it to.
pub async fn supervise(program: Program, mut orders: watch::Receiver<Order>, uptime: Uptime, waiter: Waiter) {
    let mut pause = FIRST_PAUSE;
    // Whoever went away may have said `Run` last.
    while orders.has_changed().is_ok() {
        match orders.wait_for(|order| *order != Order::Halt).await.map(|order| *order) {
            Ok(Order::Run) => {}
            Ok(Order::Halt | Order::Terminate) | Err(_) => return,
        }
        let started = uptime.now();
        let result = match spawn(&program) {
            Ok(child) => run(child, &program, &mut orders, &waiter).await,
            Err(error) => {
                tracing::error!(code = "openclaw_not_started", %error, "the program cannot be started");
                Run::Ended(None)
            }
        };
        let Run::Ended(status) = result else { continue };
        if uptime.now().saturating_sub(started) >= STABLE_AFTER {
            pause = FIRST_PAUSE;
        }
        tracing::error!(
            code = "openclaw_ended",
            status = status.and_then(|status| status.code()),
            seconds = pause.as_secs(),
            "OpenClaw ended by itself; it starts again after a pause"
        );
        tokio::select! {
            () = waiter.wait(pause) => {}
            _ = orders.wait_for(|order| *order != Order::Run) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn spawn(program: &Program) -> io::Result<Child> {
    use secrecy::ExposeSecret as _;
    let environment = program.environment.iter().map(|(name, value)| (name, value.expose_secret()));
    Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Watches a run to its end; when this returns, nothing of it is left.
async fn run(mut child: Child, program: &Program, orders: &mut watch::Receiver<Order>, waiter: &Waiter) -> Run {
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let order = tokio::select! {
        status = child.wait() => {
            // What it had started goes with it.
            group.signal(Signal::KILL);
            return Run::Ended(status.ok());
        }
        order = orders.wait_for(|order| *order != Order::Run) => order.map_or(Order::Halt, |order| *order),
    };
    if order == Order::Terminate {
        group.signal(Signal::TERM);
        tokio::select! {
            _ = child.wait() => {}
            () = waiter.wait(program.grace) => {
                tracing::warn!(code = "grace_exceeded", "OpenClaw did not end within its grace; it is killed");
            }
        }
    }
    group.signal(Signal::KILL);
    let _ = child.wait().await;
    Run::Stopped
}

/// The processes that the program's run consists of; killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    /// That there is none any more is what was wanted.
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.0 {
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use tokio::task::JoinHandle;

    use super::*;

    /// Notes each start, and ends 0 s after a `SIGTERM` if it heeds one; what it starts heeds none.
    const SCRIPT: &str = r#"
        trap '' TERM
        /bin/sh -c 'while :; do /bin/sleep 0.02; done' & echo $! >> "$FOLDER/children"
        if [ "$HEEDS" = yes ]; then trap 'echo >> "$FOLDER/terminated"; exit 0' TERM; fi
        echo $$ >> "$FOLDER/starts"
        if [ -e "$FOLDER/fails" ]; then exit 3; fi
        while :; do /bin/sleep 0.02; done
    "#;

    struct Scene {
        folder: tempfile::TempDir,
        orders: watch::Sender<Order>,
        pauses: Arc<Mutex<Vec<Duration>>>,
        task: JoinHandle<()>,
    }

    impl Scene {
        fn start(heeds: &str, fails: bool) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            if fails {
                std::fs::write(folder.path().join("fails"), "").expect("written");
            }
            let path = folder.path().to_string_lossy().into_owned();
            let program = Program {
                path: "/bin/sh".into(),
                arguments: vec!["-c".into(), SCRIPT.into()],
                environment: vec![("FOLDER".to_owned(), path.into()), ("HEEDS".to_owned(), heeds.into())],
                grace: Duration::from_secs(330),
            };
            let pauses: Arc<Mutex<Vec<Duration>>> = Arc::default();
            let (noted, is_graceful) = (Arc::clone(&pauses), heeds == "yes");
            let waiter = Waiter::hook(move |pause| {
                noted.lock().expect("whole").push(pause);
                async move {
                    if is_graceful && pause > LONGEST_PAUSE {
                        std::future::pending().await
                    }
                }
            });
            let (orders, received) = watch::channel(Order::Halt);
            let task = tokio::spawn(supervise(program, received, Uptime::hook(|| Duration::ZERO), waiter));
            Self { folder, orders, pauses, task }
        }

        fn lines(&self, name: &str) -> Vec<String> {
            let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }

        async fn has_lines(&self, name: &str, count: usize) {
            let all = async {
                while self.lines(name).len() < count {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("in time");
        }

        /// Waits until nothing that a run has started is left.
        async fn nothing_runs(&self) {
            let is_left = |id: &String| {
                let status = std::fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
                // What nobody has waited for yet is dead all the same.
                !status.is_empty() && !status.contains(") Z ")
            };
            let ends = async {
                while self.lines("children").iter().any(is_left) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), ends).await.expect("in time");
        }
    }

    #[tokio::test]
    async fn it_runs_on_order_alone_and_is_killed_at_once_with_all_that_it_started() {
        let scene = Scene::start("no", false);
        scene.orders.send_replace(Order::Run);
        scene.has_lines("starts", 1).await;
        scene.orders.send_replace(Order::Halt);
        scene.nothing_runs().await;
        scene.orders.send_replace(Order::Run);
        scene.has_lines("starts", 2).await;
        let Scene { orders, task, folder, pauses } = scene;
        drop(orders);
        task.await.expect("whole");
        assert!(pauses.lock().expect("whole").is_empty(), "no pause and no grace");
        drop(folder);
    }

    #[tokio::test]
    async fn a_program_that_ends_is_started_again_after_pauses_that_grow() {
        let scene = Scene::start("yes", true);
        scene.orders.send_replace(Order::Run);
        scene.has_lines("starts", 9).await;
        scene.orders.send_replace(Order::Terminate);
        scene.nothing_runs().await;
        let pauses: Vec<u64> = scene.pauses.lock().expect("whole").iter().map(Duration::as_secs).collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[tokio::test]
    async fn it_ends_within_its_grace_and_is_killed_after_it() {
        for heeds in ["yes", "no"] {
            let mut scene = Scene::start(heeds, false);
            scene.orders.send_replace(Order::Run);
            scene.has_lines("starts", 1).await;
            scene.orders.send_replace(Order::Terminate);
            (&mut scene.task).await.expect("whole");
            scene.nothing_runs().await;
            assert_eq!(scene.lines("terminated").len(), usize::from(heeds == "yes"));
            let pauses = scene.pauses.lock().expect("whole").clone();
            assert!(pauses.iter().all(|pause| *pause == Duration::from_secs(330)), "{pauses:?}");
        }
    }

    #[tokio::test]
    async fn its_environment_is_what_it_is_given_and_nothing_else() {
        let scene = Scene::start("no", false);
        scene.orders.send_replace(Order::Run);
        scene.has_lines("starts", 1).await;
        let program = scene.lines("starts").remove(0);
        let environment = std::fs::read(Path::new("/proc").join(program).join("environ")).expect("ours");
        let text = String::from_utf8_lossy(&environment);
        let mut names: Vec<_> = text.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["FOLDER", "HEEDS"]);
        scene.orders.send_replace(Order::Halt);
        scene.nothing_runs().await;
    }
}
