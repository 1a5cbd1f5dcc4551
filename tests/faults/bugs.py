"""Mistakes somebody could make in the code, each with the tests that find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from faults.seeded import Bug, Edit


def tests(file: str, *names: str) -> Sequence[str]:
    """Return tests of one file, from `tests/` on."""
    return [f"{file}::{name}" for name in names]


BUGS: Final[Sequence[Bug]] = (
    # The log, and where somebody stands in it.
    Bug(
        "the_change_at_the_position_comes_again",
        [Edit("store/history.py", "changes[: fitting(", "[held, *changes][: fitting(")],
        tests(
            "store/test_store_changes.py", "test_the_changes_after_any_position_are_all_that_follow[sqlite]"
        ),
    ),
    Bug(
        "a_read_begins_after_the_position",
        [Edit("store/history.py", "revision >= {revision}", "revision > {revision}")],
        tests("test_feeds.py", "test_a_look_that_comes_during_a_read_leads_to_another_one[sqlite]"),
    ),
    Bug(
        "the_cursor_is_the_time_of_a_change",
        [
            Edit(
                "store/history.py",
                "and revision >= {revision}",
                """and (revision = {revision} or change_time > (
                select change_time from change where job_pk = {job_pk} and revision = {revision}
            ))""",
            )
        ],
        tests(
            "store/test_store_changes.py", "test_the_changes_after_any_position_are_all_that_follow[sqlite]"
        ),
    ),
    Bug(
        "a_position_is_its_revision_whoever_made_it",
        [Edit("store/history.py", "held.position != position", "held.revision != position.revision")],
        tests("store/test_store_changes.py", "test_another_commit_at_a_revision_is_another_history"),
    ),
    Bug(
        "a_kept_page_is_given_again_for_its_revision_whoever_made_it",
        [
            Edit(
                "store/first_pages.py",
                "Version(row[0], Position(row[1], row[2])) for row in heads}",
                "(row[0], row[1]) for row in heads}",
            ),
            Edit(
                "store/first_pages.py",
                "if page.held in current",
                "if page.held and (page.held.job_pk, page.held.position.revision) in current",
            ),
        ],
        tests("store/test_store_first_pages.py", "test_a_page_held_of_another_history_is_read_again"),
    ),
    Bug(
        "a_snapshot_is_shared_for_its_revision_whoever_made_it",
        [
            Edit(
                "snapshots.py",
                "if held.position == stored.position:",
                "if held.job.revision == stored.job.revision:",
            )
        ],
        tests("test_feeds.py", "test_a_snapshot_serves_nobody_once_the_history_is_another_one[sqlite]"),
    ),
    Bug(
        "a_poll_compares_revisions_whoever_made_them",
        [
            Edit(
                "feeds.py",
                "if head is None or head.position != self.head:",
                "if head is None or head.position.revision != self.head.revision:",
            )
        ],
        tests("test_feeds.py", "test_a_poll_finds_another_history_of_the_same_length[sqlite]"),
    ),
    Bug(
        "a_feed_holds_a_revision_whoever_made_it",
        [
            Edit(
                "feeds.py",
                "self._entries[index - 1].position == position",
                "self._entries[index - 1].position.revision == position.revision",
            )
        ],
        tests("test_feeds.py", "test_a_feed_holds_the_very_commits_it_keeps_and_nothing_below_them[sqlite]"),
    ),
    # Writing it.
    Bug(
        "the_root_is_read_and_not_locked",
        [Edit("store/postgres.py", '{trees.SELECT_ROOT} for update"', '{trees.SELECT_ROOT}"')],
        tests(
            "store/test_store_concurrency.py",
            "test_a_job_is_read_to_be_written_only_when_the_writer_before_is_done[postgresql]",
        ),
    ),
    Bug(
        "a_job_that_was_reported_meanwhile_is_not_locked",
        [Edit("store/report.py", "if root is None and any(", "if False and any(")],
        tests(
            "store/test_store_concurrency.py",
            "test_a_job_that_another_has_reported_since_its_lock_was_looked_for_is_locked",
        ),
    ),
    Bug(
        "an_unknown_outcome_is_taken_for_a_failure",
        [
            Edit(
                "store/report.py",
                "        if self._store.read_commit_id(connection, job_pk, revision) == self._commit_id:\n"
                "            return outcomes\n",
                "",
            )
        ],
        tests(
            "store/test_store_faults_postgres.py",
            "test_the_answer_to_a_report_in_doubt_counts_its_items_as_the_first_try_did[after the commit]",
        ),
    ),
    Bug(
        "the_second_of_two_ends_replaces_the_first",
        [Edit("merge/steps.py", "if RANK[new] > rank or", "if RANK[new] >= rank or")],
        tests("test_merge.py", "test_another_end_fills_no_times"),
    ),
    Bug(
        "a_commit_is_announced_before_it_is_one",
        [
            Edit(
                "store/report.py",
                "                return self._take(connection, root) if done is None else done\n",
                """                if done is not None:
                    return done
                outcomes = self._take(connection, root)
                for outcome in outcomes:
                    for job_pk in getattr(outcome, "grown", {}).values():
                        self._store.announce(job_pk)
                return outcomes
""",
            ),
            Edit(
                "store/sql.py",
                """        for job_pk in {job_pk for each in results for job_pk in each.grown.values()}:
            self.announce(job_pk)
        left_out""",
                "        left_out",
            ),
        ],
        tests("store/test_store_news.py", "test_a_commit_is_no_news_before_others_can_read_it[postgresql]"),
    ),
    Bug(
        "a_commit_is_acknowledged_before_it_is_durable",
        [
            Edit(
                "store/postgres.py",
                "begin isolation level read committed;\n",
                "begin isolation level read committed;\nset local synchronous_commit = off;\n",
            )
        ],
        tests(
            "store/test_store_faults_postgres.py", "test_a_committed_report_survives_a_crash_of_the_server"
        ),
    ),
    # News of it.
    Bug(
        "nothing_is_read_again_after_the_listener_was_cut_off",
        [
            Edit(
                "store/postgres_news.py",
                "            self._proof = self._connect(now)\n            return News(everything=True)",
                "            self._proof = self._connect(now)\n            return News()",
            )
        ],
        tests(
            "store/test_store_news.py",
            "test_after_a_lost_connection_everything_may_have_happened_and_news_go_on",
        ),
    ),
    Bug(
        "nobody_is_notified",
        [
            Edit(
                "store/postgres.py",
                "        if self._notify:\n            self._announcer.announce(job_pk)",
                "        pass",
            )
        ],
        tests("store/test_store_news.py", "test_a_commit_of_another_store_is_heard_soon[postgresql]"),
    ),
    Bug(
        "a_lost_notification_is_not_polled_for",
        [
            Edit(
                "watch.py",
                "        for job_pk, feed in watched:\n            feed.confirm(heads.get(job_pk), moment)\n",
                "",
            )
        ],
        tests("test_feeds.py", "test_what_nobody_was_told_of_is_found_by_polling[sqlite]"),
    ),
    Bug(
        "a_look_that_comes_during_a_read_is_lost",
        [
            Edit(
                "feeds.py",
                "                self._asked = False\n                lookers, ",
                "                lookers, ",
            ),
            Edit(
                "feeds.py",
                "                    await self._read_once(start)\n",
                "                    await self._read_once(start)\n                    self._asked = False\n",
            ),
        ],
        tests("test_feeds.py", "test_a_look_that_comes_during_a_read_leads_to_another_one[sqlite]"),
    ),
    Bug(
        "news_that_come_before_there_is_a_feed_are_lost",
        [Edit("watch.py", "            self._unheard.note(job_pk)\n", "            pass\n")],
        tests(
            "test_streams.py",
            "test_news_that_come_before_a_stream_has_got_to_its_feed_are_looked_into[sqlite-<lambda>]",
        ),
    ),
    # Sending it.
    Bug(
        "a_feed_forgets_its_lower_edge",
        [Edit("feeds.py", "            self._base = dropped.position\n", "")],
        tests("test_feeds.py", "test_a_feed_holds_the_very_commits_it_keeps_and_nothing_below_them[sqlite]"),
    ),
    Bug(
        "a_frame_has_the_token_of_all_there_is",
        [
            Edit(
                "watch.py",
                "        point = ResumePoint(job_pk, last.position)\n",
                "        point = ResumePoint(job_pk, entries[-1].position)\n",
            )
        ],
        tests("test_feeds.py", "test_a_feed_holds_the_very_commits_it_keeps_and_nothing_below_them[sqlite]"),
    ),
    Bug(
        "a_frame_claims_the_change_that_no_longer_fitted",
        [
            Edit(
                "deliveries.py",
                """            budget -= len(entry.encoded)
            if budget < 0 and encoded:
                break
            encoded""",
                """            budget -= len(entry.encoded)
            if budget < 0 and encoded:
                last = entry
                break
            encoded""",
            )
        ],
        tests("test_deliveries.py", "test_every_change_delivers_each_revision_once_and_in_order"),
    ),
    Bug(
        "a_frame_is_cut_one_change_too_late",
        [
            Edit(
                "deliveries.py",
                """            budget -= len(entry.encoded)
            if budget < 0 and encoded:
                break
            encoded.append(entry.encoded)
""",
                """            if budget < 0 and encoded:
                break
            budget -= len(entry.encoded)
            encoded.append(entry.encoded)
""",
            )
        ],
        tests("test_deliveries.py", "test_every_change_delivers_each_revision_once_and_in_order"),
    ),
    Bug(
        "a_stream_behind_skips_the_first_change_of_its_next_frame",
        [
            Edit(
                "streams.py",
                "entries[frame.place.revision - point.position.revision :]",
                "entries[frame.place.revision - point.position.revision + 1 :]",
            )
        ],
        tests(
            "test_watch_resume.py",
            "test_changes_that_were_read_together_and_fit_into_no_frame_come_in_several[sqlite]",
        ),
    ),
    Bug(
        "a_job_is_completed_before_all_of_it_was_delivered",
        [
            Edit(
                "feeds.py",
                "ended = self.stored.position == self.head and self.stored.job.state.terminal",
                "ended = self.stored.job.state.terminal",
            )
        ],
        tests("test_feeds.py", "test_a_feed_rests_at_its_head_until_the_end_has_been_read_too[sqlite]"),
    ),
    Bug(
        "a_feed_that_knows_more_than_the_store_is_believed",
        [Edit("streams.py", "            await self._meet(feed, stored)\n", "")],
        tests(
            "test_streams.py",
            "test_a_stream_begun_after_a_restore_gets_nothing_that_its_feed_still_has[sqlite]",
        ),
    ),
    # Ending it.
    Bug(
        "a_stream_whose_client_has_left_swallows_that",
        [
            Edit(
                "streams.py",
                "except StoreUnavailable:\n                        # Before",
                "except (StoreUnavailable, asyncio.CancelledError):\n                        # Before",
            )
        ],
        tests(
            "test_streams.py",
            "test_a_stream_whose_client_leaves_ends_and_leaves_nothing_behind[sqlite-False]",
        ),
    ),
    Bug(
        "pruning_forgets_to_raise_the_floor",
        [
            Edit(
                "store/removal.py",
                "        connection.execute(update(schema.job).where(_JOB.job_pk == job_pk)"
                ".values(change_floor=new_floor))\n",
                "",
            )
        ],
        tests(
            "test_retention.py", "test_a_watch_of_only_what_is_new_since_a_pruned_token_is_a_snapshot[sqlite]"
        ),
    ),
    # Files.
    Bug(
        "the_files_that_are_known_are_not_read",
        [Edit("store/report.py", "found = self._store.files.read(connection, wanted)", "found = {}")],
        tests(
            "store/test_store_files.py",
            "test_the_store_merges_files_as_the_rule_does_alone_and_together",
        ),
    ),
    Bug(
        "a_file_that_moves_is_counted_where_it_was_too",
        [Edit("merge/files.py", "            counts[_PLACE[current.state]] -= 1\n", "")],
        tests("test_merge_files.py", "test_a_tally_is_what_its_files_come_to"),
    ),
    Bug(
        "a_granule_of_another_project_is_told",
        [
            Edit(
                "store/files.py",
                "(each.project_id, each.collection_id) == (key.project_id, name.collection_id)",
                "each.collection_id == name.collection_id",
            )
        ],
        tests(
            "store/test_store_files.py",
            "test_without_a_job_it_is_the_one_that_requested_the_granule_last",
        ),
    ),
    # The source.
    Bug(
        "a_reading_goes_on_from_where_the_numbers_had_come_to",
        [Edit("sources/orca_database.py", "cast(pg_snapshot_xmin(", "cast(pg_snapshot_xmax(")],
        tests(
            "sources/test_orca_database.py",
            "test_a_transaction_that_commits_late_is_found_whatever_was_read_before[collections]",
        ),
    ),
    Bug(
        "the_oldest_transaction_that_runs_is_taken_for_ended",
        [Edit("sources/orca_database.py", "{xid} >= k.since", "{xid} > k.since")],
        tests(
            "sources/test_orca_database.py",
            "test_a_transaction_that_commits_late_is_found_whatever_was_read_before[collections]",
        ),
    ),
    Bug(
        "only_the_lower_half_of_a_transactions_number_is_known",
        [
            Edit(
                "sources/orca_database.py",
                "(:end - ((:end - cast(cast(xmin as text) as bigint)) & 4294967295))",
                "(:end * 0 + cast(cast(xmin as text) as bigint))",
            )
        ],
        tests(
            "sources/test_orca_database.py",
            "test_rows_are_found_when_the_numbers_of_transactions_have_begun_anew[collections]",
        ),
    ),
    Bug(
        "who_has_the_lease_is_not_looked_at_by_who_writes",
        [Edit("store/report.py", "if self._lease is not None and not", "if False and not")],
        tests("store/test_store_leases.py", "test_a_report_by_a_lost_lease_writes_nothing[postgresql]"),
    ),
    Bug(
        "the_lease_can_be_taken_while_somebody_writes_by_it",
        [
            Edit(
                "store/postgres.py", "is_held(connection, lease, leases.SHARED)", "is_held(connection, lease)"
            )
        ],
        tests("sources/test_orca_owners.py", "test_nobody_takes_over_before_the_last_report_has_ended"),
    ),
    Bug(
        "a_move_back_is_taken_for_old_news",
        [Edit("merge/steps.py", "if authoritative and attempt <", "if False and attempt <")],
        tests("sources/test_orca_source.py", "test_a_move_back_is_the_next_attempt[sqlite]"),
    ),
    Bug(
        "the_next_reading_is_counted_from_when_the_last_was_written",
        [
            Edit(
                "sources/orca_following.py",
                "job.schedule(horizon, self._began,",
                "job.schedule(horizon, time.monotonic(),",
            )
        ],
        tests(
            "sources/test_orca_following.py",
            "test_an_open_job_is_due_an_interval_after_the_turn_that_read_it_began[sqlite]",
        ),
    ),
    Bug(
        "what_is_deleted_here_is_not_read_again",
        [
            Edit(
                "sources/orca_jobs.py",
                "self.renewed |= self.row not in",
                "self.renewed |= False and self.row not in",
            )
        ],
        tests(
            "sources/test_orca_following.py",
            "test_a_job_that_was_deleted_here_comes_back_whole_however_much_of_it_has_changed[sqlite]",
        ),
    ),
    Bug(
        "what_another_history_had_come_to_is_taken_for_done",
        [
            Edit(
                "sources/orca_following.py",
                "return Walk(), Walk(horizon), 0",
                "return Walk(horizon), Walk(horizon), 0",
            )
        ],
        tests("sources/test_orca_following.py", "test_a_back_fill_goes_on_where_it_was[sqlite]"),
    ),
    Bug(
        "a_token_of_another_project_is_taken",
        [
            Edit(
                "tokens.py",
                "return self._resume.seal(_bound(key), _RESUME_BODY",
                "return self._resume.seal(_bound(key[1:]), _RESUME_BODY",
            ),
            Edit(
                "tokens.py",
                'self._resume.open(_bound(key), token, "a resume token", "job")',
                'self._resume.open(_bound(key[1:]), token, "a resume token", "job")',
            ),
        ],
        tests("test_tokens.py", "test_a_resume_token_of_another_job_is_refused"),
    ),
)
