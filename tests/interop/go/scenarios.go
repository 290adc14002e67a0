// What users of dtm do with a saga, each with the end that dtm promises.
package main

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dtm-labs/client/dtmcli"
)

var scenarios = []struct {
	name string
	run  func(*Test)
}{
	{"new_gid", newGid},
	{"success", success},
	{"empty_urls", emptyUrls},
	{"rollback", rollback},
	{"concurrent_orders", concurrentOrders},
	{"concurrent_rollback", concurrentRollback},
	{"wait_result", waitResult},
	{"wait_result_rollback", waitResultRollback},
	{"wait_result_ongoing", waitResultOngoing},
	{"ongoing_once", ongoingOnce},
	{"error_once", errorOnce},
	{"retry_limit", retryLimit},
	{"timeout_to_fail", timeoutToFail},
	{"branch_headers", branchHeaders},
	{"same_gid_twice", sameGidTwice},
	{"crash_unanswered", crashUnanswered},
	{"crash_between", crashBetween},
	{"crash_compensating", crashCompensating},
}

var (
	noMoney = fmt.Errorf("no money %w", dtmcli.ErrFailure) // a definite no: 409
	broken  = errors.New("out of order")                   // 500
)

func allFine(string, int) error { return nil }

// fails answers the nth call of that name so, and all others with success. nth 0: every call of it.
func fails(which string, nth int, err error) func(string, int) error {
	return func(name string, n int) error {
		if name == which && (nth == 0 || n == nth) {
			return err
		}
		return nil
	}
}

func newGid(t *Test) {
	first, second := dtmcli.MustGenGid(t.server), dtmcli.MustGenGid(t.server)
	check(first != second, "twice the same: %s", first)
}

func success(t *Test) {
	s := startService(allFine)
	saga := s.saga(t, 4)
	must(saga.Submit())
	t.ends(saga.Gid, "succeed", "^$").rows("pspspsps")
	s.expect("a1 a2 a3 a4")
}

// A step that needs no action or nothing to undo.
func emptyUrls(t *Test) {
	s := startService(fails("a3", 1, noMoney))
	saga := s.saga(t, 3)
	saga.Steps[0]["compensate"] = ""
	saga.Steps[1]["action"] = ""
	must(saga.Submit())
	t.ends(saga.Gid, "failed", "no money").rows("sssssf")
	s.expect("a1 a3 c3 c2")
}

func rollback(t *Test) {
	s := startService(fails("a2", 1, noMoney))
	saga := s.saga(t, 3)
	must(saga.Submit())
	t.ends(saga.Gid, "failed", "no money").rows("sssfpp")
	s.expect("a1 a2 c2 c1") // what was refused may have left something behind, so it is compensated too
}

// concurrent makes 1 and 2 run at the same time, then 3, then 4.
func concurrent(t *Test, answer func(string, int) error) (*Service, *dtmcli.Saga) {
	var s *Service
	s = startService(func(name string, nth int) error {
		other := map[string]string{"a1": "a2", "a2": "a1"}[name]
		if other != "" && !s.called(other, 2*time.Second) { // each waits for the other: in turn it would not end
			return broken
		}
		return answer(name, nth)
	})
	s.together = []string{"a1 a2", "c1 c2"}
	return s, s.saga(t, 4).SetConcurrent().AddBranchOrder(2, []int{0, 1}).AddBranchOrder(3, []int{2})
}

func concurrentOrders(t *Test) {
	s, saga := concurrent(t, allFine)
	must(saga.Submit())
	t.ends(saga.Gid, "succeed", "^$").rows("pspspsps")
	s.expect("a1 a2 a3 a4", "a2 a1 a3 a4")
}

func concurrentRollback(t *Test) {
	s, saga := concurrent(t, fails("a3", 1, noMoney))
	must(saga.Submit())
	t.ends(saga.Gid, "failed", "no money").rows("sssssfpp")
	s.expect("a1 a2 a3 c3 c2 c1", "a2 a1 a3 c3 c2 c1", "a1 a2 a3 c3 c1 c2", "a2 a1 a3 c3 c1 c2")
}

func waitResult(t *Test) {
	s := startService(allFine)
	saga := s.saga(t, 2)
	saga.WaitResult = true
	must(saga.Submit())
	check(t.query(saga.Gid).Transaction.Status == "succeed", "it should have ended when Submit returned")
	s.expect("a1 a2")
}

func waitResultRollback(t *Test) {
	s := startService(fails("a2", 1, noMoney))
	saga := s.saga(t, 2)
	saga.WaitResult = true
	message := errorText(saga.Submit())
	check(strings.Contains(message, "FAILURE") && strings.Contains(message, "no money"), "Submit says %q", message)
	check(t.query(saga.Gid).Transaction.Status == "failed", "it should have ended when Submit returned")
	s.expect("a1 a2 c2 c1")
}

func waitResultOngoing(t *Test) {
	s := startService(fails("a1", 1, dtmcli.ErrOngoing))
	saga := s.saga(t, 1)
	saga.WaitResult = true
	saga.RetryInterval = 1
	message := errorText(saga.Submit())
	word := "ONGOING"
	if t.isGo {
		word = "FAILURE" // docs/http_api.md: Go answers 409 though it goes on
	}
	check(strings.Contains(message, word), "Submit says %q", message)
	t.ends(saga.Gid, "succeed", "^$")
	s.expect("a1 a1")
}

func ongoingOnce(t *Test) {
	s := startService(fails("a1", 1, dtmcli.ErrOngoing))
	saga := s.saga(t, 2)
	saga.RetryInterval = 1
	must(saga.Submit())
	t.ends(saga.Gid, "succeed", "^$").rows("psps")
	s.expect("a1 a1 a2")
}

func errorOnce(t *Test) {
	s := startService(fails("a2", 1, broken))
	saga := s.saga(t, 2)
	saga.RetryInterval = 1
	must(saga.Submit())
	t.ends(saga.Gid, "succeed", "^$").rows("psps")
	s.expect("a1 a2 a2")
}

func retryLimit(t *Test) {
	s := startService(fails("a2", 0, broken))
	saga := s.saga(t, 2)
	saga.RetryInterval = 1
	saga.WithRetryLimit(1)
	must(saga.Submit())
	t.ends(saga.Gid, "failed", "^RetryCount is greater than RetryLimit, RetryLimit: 1$")
	s.expect("a1 a2 a2 c2 c1")
}

func timeoutToFail(t *Test) {
	s := startService(fails("a1", 0, dtmcli.ErrOngoing))
	saga := s.saga(t, 2)
	saga.TimeoutToFail = 1
	must(saga.Submit())
	t.ends(saga.Gid, "failed", `^Timeout after \d+ seconds$`)
	s.expect("a1 c1", "a1 a1 c1")
}

func branchHeaders(t *Test) {
	s := startService(fails("a2", 1, noMoney))
	s.headers = map[string]string{"X-Tenant": "seven of nine", "Authorization": "Bearer abc"}
	saga := s.saga(t, 2)
	saga.BranchHeaders = s.headers
	must(saga.Submit())
	t.ends(saga.Gid, "failed", "no money")
	s.expect("a1 a2 c2 c1")
}

func sameGidTwice(t *Test) {
	again := make(chan struct{})
	s := startService(func(name string, nth int) error {
		if name == "a1" {
			<-again
		}
		return nil
	})
	saga := s.saga(t, 2)
	must(saga.Submit())
	check(s.called("a1", t.deadline), "a1 was not called")
	err := saga.Submit()
	close(again)
	must(err)
	t.ends(saga.Gid, "succeed", "^$")
	if !t.isGo { // it begins a second round beside the first
		s.expect("a1 a2")
	}

	message := errorText(saga.Submit())
	if t.isGo {
		check(strings.Contains(message, "FAILURE"), "Submit of an ended saga says %q", message)
	} else {
		check(message == "", "Submit of an ended saga says %q", message)
	}
	saga.Add(s.url+"/a3", s.url+"/c3", nil)
	message = errorText(saga.Submit())
	check(strings.Contains(message, "FAILURE"), "Submit of another saga under a used gid says %q", message)
}

func crashUnanswered(t *Test) {
	crashed := make(chan struct{})
	s := startService(func(name string, nth int) error {
		if name == "a2" && nth == 1 {
			<-crashed
		}
		return nil
	})
	s.together = []string{"a2 a2"} // the caller of the first is dead
	saga := s.saga(t, 2)
	saga.RetryInterval = 1
	must(saga.Submit())
	check(s.called("a2", t.deadline), "a2 was not called")
	t.crash()
	close(crashed)
	t.ends(saga.Gid, "succeed", "^$").rows("psps")
	s.expect("a1 a2 a2")
}

// At rest: a1 is done, a2 is to be called again later.
func crashBetween(t *Test) {
	var crashed atomic.Value
	s := startService(func(name string, nth int) error {
		if name == "a2" && crashed.Load() == nil {
			return dtmcli.ErrOngoing
		}
		return nil
	})
	s.together = []string{"a2 a2"}
	saga := s.saga(t, 3)
	saga.RetryInterval = 1
	must(saga.Submit())
	check(s.called("a2", t.deadline), "a2 was not called")
	t.crash()
	crashed.Store(true)
	t.ends(saga.Gid, "succeed", "^$").rows("pspsps")
	s.expect("a1" + strings.Repeat(" a2", count(s.Calls(), "a2")) + " a3")
}

func crashCompensating(t *Test) {
	crashed := make(chan struct{})
	s := startService(func(name string, nth int) error {
		if name == "c2" && nth == 1 {
			<-crashed
		}
		return fails("a2", 1, noMoney)(name, nth)
	})
	s.together = []string{"c2 c2", "c1 c2"} // the caller of the first c2 is dead
	saga := s.saga(t, 2)
	saga.RetryInterval = 1
	must(saga.Submit())
	check(s.called("c2", t.deadline), "c2 was not called")
	t.crash()
	close(crashed)
	t.ends(saga.Gid, "failed", "no money").rows("sssf")
	s.expect("a1 a2 c2 c2 c1")
}

// Some seconds later: no branch was called after its saga had ended.
func nothingLate(*Test) {
	for _, s := range services {
		calls := s.Calls()
		check(s.expected == 0 || len(calls) == s.expected, "calls are %v, only the first %d before the end", calls, s.expected)
	}
}
