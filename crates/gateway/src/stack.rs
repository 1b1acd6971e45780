//! The whole gateway on one page. Read it as a call travels: top to bottom; replies come back bottom to top.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use http::{Request, Response, header};
use hyper::body::Incoming;
use keepgate_authn::Authenticator;
use keepgate_call::{Call, Refusal, Reply};
use keepgate_transport::Body;
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::{
    active::StackServers,
    around::around,
    edge::{authn, cors, endpoint, location, metadata, origin, render, room},
    gate::gate,
    knowledge::Knowledge,
    layers::{
        approval, audit, breaker, catalog, credential, kill, limit, measure, obligation, policy,
        session,
    },
    settings::Settings,
    shared::Shared,
    upstream,
};

/// The service of one HTTP request.
pub type Edge = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;
/// The service of one call.
pub type Calls = BoxCloneSyncService<Arc<Call>, Reply, Refusal>;

/// What an HTTP request meets before it is a call.
pub fn edge(
    settings: &Settings,
    shared: &Arc<Shared>,
    authn: &Arc<Authenticator>,
    servers: &StackServers,
    calls: Arc<Calls>,
) -> Edge {
    let place = location::Location::new(settings);
    let stack = ServiceBuilder::new()
        .map_request(move |request| place.relocate(request)) // the path of `public_url`, if nobody took it off
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            header::COOKIE,
        ])) // never printed
        .layer(render::Render::new(cors::Cors::new(origin::Origin::new(
            settings,
        )))) // Refusal -> HTTP; a panic answers 500; CORS
        .layer(around(audit::Door::new(&shared.door))) // turned away here: recorded, at a bounded rate
        .layer(around(location::Health::new(shared))) // for who balances load; asked without a credential
        .layer(around(room::Room::new(&settings.limits, shared))) // full or draining: refuse, never queue
        .layer(gate(origin::Origin::new(settings))) // Host and Origin allow-lists
        .layer(around(metadata::Metadata::new(authn, settings))) // what a token must be for; asked without one
        .layer(gate(authn::Identify::new(authn, settings, &shared.clock))) // header -> Caller; path -> server
        .service(endpoint::Endpoint::new(settings, shared, servers, calls)); // bytes -> Message -> Call; Reply -> bytes
    Edge::new(stack)
}

/// What every call meets, whichever client sent it. The four proofs are types: take a line out, or move it, and this
/// file does not compile.
pub fn calls(
    settings: &Settings,
    shared: &Arc<Shared>,
    upstreams: &upstream::Upstreams,
    servers: &StackServers,
) -> Arc<Calls> {
    let whole = Arc::new(OnceLock::new());
    let known = Arc::new(Knowledge::new(settings, shared));
    let stack = ServiceBuilder::new()
        .layer(around(measure::Measure::new(shared))) // takes Call
        .layer(around(audit::Outcome::new(&shared.refusals))) // one last record per call, always
        .layer(around(session::Bind::new(settings, shared, servers))) // Call      -> Bound
        .layer(around(kill::Cut::new(settings, shared, servers))) // what is cut off, not admitted any more, or for a server of before is refused; what runs can be cut
        .layer(around(breaker::Breaker::new(settings, shared, upstreams))) // circuits of what fails
        .layer(around(limit::Quota::new(settings, &shared.budgets))) // rates, and calls at once
        .layer(around(policy::Screen::new(settings, shared, &known)))
        .layer(around(catalog::Lookup::new(settings, shared, &whole))) // Bound     -> Known: what the tool does not declare is dropped
        .layer(gate(policy::Judge::new(shared, &known))) // Known     -> Judged
        .layer(gate(approval::RequireApproval::new(
            settings, shared, &known,
        ))) // Judged    -> Permitted: a person agreed, where policy wants that
        .layer(around(obligation::Carry::new(
            settings, shared, &known, servers,
        ))) // Permitted -> Obliged: what policy asks for is done
        .layer(gate(audit::Intent::new(settings, &shared.log))) // Obliged   -> Recorded: no log, no call
        .layer(around(credential::Attach::new(shared))) // Recorded  -> Armed; a secret that comes back is masked
        .layer(around(measure::Depart::new(settings, shared))) // times the server
        .service(upstream::Router::new(upstreams)); // takes Armed, gives Reply
    let calls = Arc::new(Calls::new(stack));
    // The gateway's own list calls pass the whole stack; a weak way back, so that an old stack can go.
    let _set_once = whole.set(Arc::downgrade(&calls));
    calls
}
