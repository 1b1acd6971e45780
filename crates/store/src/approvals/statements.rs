//! Every statement of approvals for SQLite, so that a test can ask for the plan of each. PostgreSQL would be a second file like
//! this one.

/// A condition on the row `approvals`: no later no to the same call. Cool-downs end, a yes from before stays overtaken.
macro_rules! not_overtaken {
    () => {
        "NOT EXISTS (SELECT 1 FROM approvals AS newer WHERE newer.tenant = approvals.tenant AND newer.digest = approvals.digest \
         AND newer.state IN ('pending', 'approved', 'denied') AND newer.state = 'denied' \
         AND newer.decided_ms >= coalesce(approvals.decided_ms, 0))"
    };
}

/// Declares the statements, and the list of them for tests.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        /// The name and text of each.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $sql),)+];
    };
}

statements! {
    /// The request that decides over a digest.
    FIND = concat!("SELECT id FROM approvals WHERE tenant = ?1 AND digest = ?2 AND state IN ('pending', 'approved', 'denied') \
            AND ((state = 'approved' AND uses_left > 0 AND usable_until_ms > ?3 AND (session IS NULL OR session = ?4) \
            AND ", not_overtaken!(), ") \
            OR (state = 'pending' AND expires_ms > ?3 AND (session IS NULL OR session = ?4)) \
            OR (state = 'denied' AND cooldown_until_ms > ?3)) \
            ORDER BY CASE state WHEN 'approved' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, created_ms DESC LIMIT 1");
    /// One request.
    ONE = "SELECT * FROM approvals WHERE tenant = ? AND id = ?";
    /// Its state alone: the sealed part may be a megabyte.
    STATE = "SELECT state FROM approvals WHERE tenant = ? AND id = ?";
    /// The pending request with a digest.
    OPEN_WITH = "SELECT id FROM approvals WHERE tenant = ?1 AND digest = ?2 AND state = 'pending' \
                 AND (session IS NULL OR session = ?3)";
    /// Counts for the limits.
    COUNTS = "SELECT \
        coalesce((SELECT requests FROM approval_totals WHERE tenant = ?1 AND state = 'pending'), 0) AS everybody, \
        coalesce((SELECT bytes FROM approval_totals WHERE tenant = ?1 AND state = 'pending'), 0) AS bytes, \
        (SELECT count(*) FROM approvals INDEXED BY approvals_pending_of_caller \
         WHERE tenant = ?1 AND caller = ?2 AND state = 'pending') AS pending, \
        coalesce((SELECT pending_bytes FROM approval_shares WHERE tenant = ?1 AND caller = ?2), 0) AS share, \
        (SELECT count(*) FROM approvals WHERE tenant = ?1 AND caller = ?2 AND created_ms > ?3) AS lately";
    /// Adds a request.
    ADD = "INSERT INTO approvals (tenant, id, digest, caller, state, created_ms, expires_ms, uses_left, recorded, key_id, sealed, \
           not_before_ms, session) VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, 0, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    /// Counts a decision.
    DECIDE = "INSERT INTO approval_decisions (tenant, approval, operator_id, operator, approves, decided_ms, shown, reason, state) \
              SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM approvals \
              WHERE tenant = ?1 AND id = ?2 AND state = 'pending' AND expires_ms > ?6 ON CONFLICT DO NOTHING";
    /// Approves a pending request.
    APPROVE = "UPDATE approvals SET state = 'approved', decided_ms = ?, usable_until_ms = ? \
               WHERE tenant = ? AND id = ? AND state = 'pending'";
    /// Denies a pending request.
    DENY = "UPDATE approvals SET state = 'denied', decided_ms = ?, cooldown_until_ms = ? \
            WHERE tenant = ? AND id = ? AND state = 'pending'";
    /// The decisions on a request.
    DECISIONS = "SELECT operator_id, operator, approves, decided_ms, shown, reason, state, recorded FROM approval_decisions \
                 WHERE tenant = ? AND approval = ? ORDER BY decided_ms, rowid";
    /// Takes a use of an approved request.
    CONSUME = concat!("UPDATE approvals SET uses_left = uses_left - 1, \
               state = CASE WHEN uses_left = 1 THEN 'consumed' ELSE state END \
               WHERE tenant = ?1 AND id = ?2 AND state = 'approved' AND uses_left > 0 AND usable_until_ms > ?3 \
               AND coalesce(not_before_ms, 0) <= ?3 AND (session IS NULL OR session = ?4) AND ",
               not_overtaken!(), " RETURNING uses_left");
    /// Notes the use.
    USE = "INSERT INTO approval_uses (tenant, id, approval, state, decision_id, consumed_ms) VALUES (?, ?, ?, 'consumed', ?, ?)";
    /// Lets the call of a use go to its server, unless its request was taken back or its time is over: of this and END exactly one
    /// happens.
    SEND = "UPDATE approval_uses SET sent_ms = ?3 WHERE tenant = ?1 AND id = ?2 AND state = 'consumed' AND sent_ms IS NULL \
            AND EXISTS (SELECT 1 FROM approvals AS given WHERE given.tenant = ?1 AND given.id = approval_uses.approval \
            AND given.state IN ('approved', 'consumed') AND given.usable_until_ms > ?3) RETURNING approval";
    /// Ends a use. One that was let go counts as made, also when its call was cut before anything of it left: whoever wanted to
    /// take it back meanwhile was answered that it was sent.
    SETTLE = "UPDATE approval_uses SET state = CASE WHEN sent_ms IS NULL THEN ? ELSE 'released' END, ended_ms = ? \
              WHERE tenant = ? AND id = ? AND state = 'consumed' RETURNING approval, state = 'returned' AS is_returned";
    /// Gives a use back; not after the request was revoked, or the same call was denied.
    RETURN = concat!("UPDATE approvals SET uses_left = uses_left + 1, state = 'approved' \
              WHERE tenant = ? AND id = ? AND state IN ('approved', 'consumed') AND ", not_overtaken!());
    /// A request with this digest of which a use may yet be given back.
    IN_USE = "SELECT used.approval AS id FROM approval_uses AS used \
              CROSS JOIN approvals AS its ON its.tenant = used.tenant AND its.id = used.approval \
              WHERE used.tenant = ? AND used.approval > '' AND used.state = 'consumed' AND used.sent_ms IS NULL \
              AND its.digest = ? LIMIT 1";
    /// Takes back what a no overtakes: a yes to the same call that may be used, or of which a use may yet be given back.
    OVERTAKE = "UPDATE approvals SET state = 'revoked', ended_ms = ?3, ended_by = ?4, end_code = 'denied', end_message = ?5 \
                WHERE tenant = ?1 AND id IN \
                (SELECT id FROM approvals WHERE tenant = ?1 AND digest = ?2 AND state IN ('pending', 'approved', 'denied') \
                AND state = 'approved' UNION ALL SELECT used.approval FROM approval_uses AS used \
                CROSS JOIN approvals AS its ON its.tenant = used.tenant AND its.id = used.approval \
                WHERE used.tenant = ?1 AND used.approval > '' AND used.state = 'consumed' AND used.sent_ms IS NULL AND its.digest = ?2) \
                AND state IN ('approved', 'consumed') RETURNING id";
    /// Cancels or revokes. A use under way is revoked with it, as long as its call was not sent.
    END = "UPDATE approvals SET decided_ms = coalesce(decided_ms, ?), \
           state = CASE state WHEN 'pending' THEN 'cancelled' ELSE 'revoked' END, \
           ended_ms = ?, ended_by = ?, end_code = ?, end_message = ? \
           WHERE tenant = ? AND id = ? AND (state IN ('pending', 'approved') OR (state = 'consumed' \
           AND EXISTS (SELECT 1 FROM approval_uses AS used WHERE used.tenant = approvals.tenant \
           AND used.approval = approvals.id AND used.state = 'consumed' AND used.sent_ms IS NULL))) RETURNING state";
    /// Tenants, and how much they have in each state.
    TOTALS = "SELECT tenant, state, requests, bytes FROM approval_totals WHERE requests > 0";
    /// Expires what nobody decided over.
    EXPIRE_PENDING = "UPDATE approvals SET state = 'expired', ended_ms = ?2, end_code = 'expired', \
                      end_message = 'nobody decided in time' WHERE (tenant, id) IN \
                      (SELECT tenant, id FROM approvals WHERE tenant = ?1 AND state = 'pending' AND expires_ms <= ?2 LIMIT ?3) \
                      AND state = 'pending' RETURNING id";
    /// Expires what was not used.
    EXPIRE_APPROVED = "UPDATE approvals SET state = 'expired', ended_ms = ?2, end_code = 'expired', \
                       end_message = 'approved, and not used in time' WHERE (tenant, id) IN \
                       (SELECT tenant, id FROM approvals WHERE tenant = ?1 AND state = 'approved' AND usable_until_ms <= ?2 LIMIT ?3) \
                       AND state = 'approved' RETURNING id";
    /// Open requests of a tenant.
    LIVE = "SELECT * FROM approvals WHERE tenant = ? AND id > ? AND state IN ('pending', 'approved') ORDER BY id LIMIT ?";
    /// Open requests of a tenant that are bound to sessions.
    BOUND = "SELECT id, session FROM approvals INDEXED BY approvals_of_session \
             WHERE tenant = ? AND session IS NOT NULL AND state IN ('pending', 'approved') LIMIT ?";
    /// Requests of a tenant, sealed with another key than this one.
    SEALED_OTHERWISE = "SELECT * FROM approvals WHERE tenant = ? AND id > ? AND key_id <> ? ORDER BY id LIMIT ?";
    /// Seals a request again.
    RESEAL = "UPDATE approvals SET digest = ?, caller = ?, key_id = ?, sealed = ? WHERE tenant = ? AND id = ? AND key_id = ?";
    /// Places of a list, of one state; the rows are read one by one.
    PAGE = "SELECT id, created_ms FROM approvals WHERE tenant = ? AND state = ? AND (created_ms, id) < (?, ?) \
            ORDER BY created_ms DESC, id DESC LIMIT ?";
    /// Uses of a tenant that an earlier process left.
    ABANDON = "UPDATE approval_uses SET state = 'indeterminate', ended_ms = ?, doubt = ? \
               WHERE tenant = ? AND approval > '' AND state = 'consumed'";
    /// One use whose outcome nobody knows.
    ABANDON_ONE = "UPDATE approval_uses SET state = 'indeterminate', ended_ms = ?, doubt = ? \
                   WHERE tenant = ? AND id = ? AND state = 'consumed'";
    /// Uses of a request whose outcome nobody knows, which the audit log lacks.
    DOUBTS = "SELECT id, decision_id, doubt FROM approval_uses \
              WHERE tenant = ? AND approval = ? AND state = 'indeterminate' AND recorded = 0 ORDER BY consumed_ms, id";
    /// Notes that a decision is on record.
    NOTE_DECISION = "UPDATE approval_decisions SET recorded = 1 WHERE tenant = ? AND approval = ? AND operator_id = ?";
    /// Notes that a use without a known outcome is on record.
    NOTE_USE = "UPDATE approval_uses SET recorded = 1 WHERE tenant = ? AND id = ?";
    /// Notes what is on record.
    NOTE = "UPDATE approvals SET recorded = recorded | ? WHERE tenant = ? AND id = ?";
    /// Requests of a tenant that the audit log lacks, or of which it lacks a decision, an end or a use without a known outcome.
    UNRECORDED = "SELECT id FROM approvals WHERE tenant = ?1 AND id > '' \
                  AND (recorded & 1 = 0 OR (state IN ('expired', 'cancelled', 'revoked') AND recorded & 4 = 0)) \
                  UNION SELECT approval FROM approval_decisions WHERE tenant = ?1 AND approval > '' AND recorded = 0 \
                  UNION SELECT approval FROM approval_uses \
                  WHERE tenant = ?1 AND approval > '' AND state = 'indeterminate' AND recorded = 0 LIMIT ?2";
    /// Oldest requests of a tenant that have ended, but for a denial that still counts and a use under way.
    OVER = "SELECT id FROM approvals WHERE tenant = ? AND state NOT IN ('pending', 'approved') \
            AND coalesce(usable_until_ms, decided_ms, expires_ms) < ? \
            AND NOT (state = 'denied' AND coalesce(cooldown_until_ms, 0) > ?) \
            AND NOT EXISTS (SELECT 1 FROM approval_uses AS used WHERE used.tenant = approvals.tenant \
            AND used.approval = approvals.id AND used.state = 'consumed') \
            ORDER BY coalesce(usable_until_ms, decided_ms, expires_ms), id LIMIT ?";
    /// Callers with most that has ended, of a tenant.
    SHARES = "SELECT caller, ended_bytes FROM approval_shares WHERE tenant = ? AND ended_bytes > 0 ORDER BY ended_bytes DESC LIMIT ?";
    /// As OVER, of one caller.
    OVER_OF_CALLER = "SELECT id, length(sealed) AS bytes FROM approvals WHERE tenant = ? AND caller = ? \
            AND state NOT IN ('pending', 'approved') AND NOT (state = 'denied' AND coalesce(cooldown_until_ms, 0) > ?) \
            AND NOT EXISTS (SELECT 1 FROM approval_uses AS used WHERE used.tenant = approvals.tenant \
            AND used.approval = approvals.id AND used.state = 'consumed') \
            ORDER BY coalesce(usable_until_ms, decided_ms, expires_ms), id LIMIT ?";
    /// Removes one that has ended, and by a trigger what belongs to it.
    REMOVE = "DELETE FROM approvals WHERE tenant = ? AND id = ? AND state NOT IN ('pending', 'approved')";
    /// Adds a target that is notified of a request.
    ADD_NOTICE = "INSERT INTO approval_notices (tenant, target, approval) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    /// Notifications that are due to a target: the request as long as it waits, a reminder after half of that time, the decision, and
    /// an end that no decision made.
    DUE_NOTICES = "SELECT its.approval, its.sent FROM approval_notices AS its \
                   CROSS JOIN approvals AS about ON about.tenant = its.tenant AND about.id = its.approval \
                   WHERE its.tenant = ?1 AND its.target = ?2 AND its.approval > ?3 AND (\
                   (about.state = 'pending' AND about.recorded & 1 <> 0 AND (its.sent = 0 \
                   OR (its.sent = 1 AND 2 * ?4 >= about.created_ms + about.expires_ms))) \
                   OR (about.state IN ('approved', 'denied', 'consumed') AND its.sent < 3) \
                   OR about.state IN ('expired', 'cancelled', 'revoked')) ORDER BY its.approval LIMIT ?5";
    /// Notes the last event a target has got.
    NOTE_NOTICE = "UPDATE approval_notices SET sent = max(sent, ?) WHERE tenant = ? AND target = ? AND approval = ?";
    /// Notes that a target has got all.
    END_NOTICE = "DELETE FROM approval_notices WHERE tenant = ? AND target = ? AND approval = ?";
    /// Removes notifications of which nothing more can come: what was used up gives no use back after its time.
    PRUNE_NOTICES = "DELETE FROM approval_notices WHERE tenant = ?1 AND target > '' AND EXISTS (SELECT 1 FROM approvals AS about \
                     WHERE about.tenant = approval_notices.tenant AND about.id = approval_notices.approval \
                     AND about.state NOT IN ('pending', 'approved') AND ((about.state = 'consumed' \
                     AND approval_notices.sent >= 3 AND about.usable_until_ms <= ?2) \
                     OR coalesce(about.usable_until_ms, about.decided_ms, about.expires_ms) < ?3))";
    /// The key that seals.
    KEY = "SELECT id, is_lost FROM approval_keys WHERE only = 1";
    /// Makes a key the one that seals.
    USE_KEY = "INSERT INTO approval_keys (only, id, is_lost) VALUES (1, ?, 0) \
               ON CONFLICT (only) DO UPDATE SET id = excluded.id, is_lost = 0";
    /// Notes that the key is lost.
    LOSE_KEY = "UPDATE approval_keys SET is_lost = 1 WHERE only = 1";
}
