// What users of dtm do with messages, tcc, xa and workflows, each with the end that dtm promises.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/dtm-labs/client/workflow"
	"github.com/go-resty/resty/v2"
)

var otherScenarios = []struct {
	name string
	run  func(*Test)
}{
	{"msg", msg},
	{"msg_abort", msgAbort},
	{"msg_do_and_submit", msgDoAndSubmit},
	{"msg_query_back", msgQueryBack},
	{"msg_delay", msgDelay},
	{"msg_topic", msgTopic},
	{"msg_concurrent", msgConcurrent},
	{"tcc", tcc},
	{"tcc_fails", tccFails},
	{"tcc_nested", tccNested},
	{"tcc_timeout", tccTimeout},
	{"xa", xa},
	{"xa_fails", xaFails},
	{"workflow", workflowTwice},
	{"workflow_fails", workflowFails},
	{"workflow_resumed", workflowResumed},
	{"crash_msg", crashMsg},
	{"crash_tcc", crashTcc},
	{"crash_workflow", crashWorkflow},
	{"nothing_late", nothingLate},
}

// as makes the service one of this kind, for a new gid; every branch gets the same payload.
func (s *Service) as(t *Test, kind string) string {
	s.kind, s.gid = kind, dtmcli.MustGenGid(t.server)
	s.payloads = []string{payText, payText, payText}
	return s.gid
}

// The client sends a text as it is, and everything else as JSON.
var pay = map[string]int{"amount": 30}

const payText = `{"amount":30}`

func (s *Service) at(name string) string { return s.url + "/" + name + "?shop=7" }

// --- msg ---

func (s *Service) msg(t *Test, steps int) *dtmcli.Msg {
	m := dtmcli.NewMsg(t.server, s.as(t, "msg"))
	for i := 1; i <= steps; i++ {
		m.Add(s.at(fmt.Sprintf("a%d", i)), pay)
	}
	m.RetryInterval = 1
	return m
}

func msg(t *Test) {
	s := startService(fails("a2", 1, noMoney)) // a message cannot be refused: it comes again
	m := s.msg(t, 3)
	must(m.Prepare(s.at("q0")))
	must(m.Prepare(s.at("q0")))
	s.expect("")
	must(m.Submit())
	t.ends(m.Gid, "succeed", "^$").marks("sss")
	s.expect("a1 a2 a2 a3")
	message := errorText(m.Prepare(s.at("q0")))
	check(strings.Contains(message, "FAILURE"), "Prepare of an ended message says %q", message)
}

func msgAbort(t *Test) {
	s := startService(allFine)
	m := s.msg(t, 1)
	must(m.Prepare(s.at("q0")))
	must(dtmimp.TransCallDtm(&m.TransBase, "abort"))
	t.ends(m.Gid, "failed", "").marks("p")
	message := errorText(m.Submit())
	check(strings.Contains(message, "FAILURE"), "Submit of an aborted message says %q", message)
	s.expect("")
}

// The local step answers yes or no, or gives no answer and is asked for.
func msgDoAndSubmit(t *Test) {
	for _, c := range []struct {
		local, asked  error
		status, calls string
	}{
		{nil, nil, "succeed", "a1"},
		{noMoney, nil, "failed", ""},
		{broken, nil, "succeed", "q0 a1"},
		{broken, noMoney, "failed", "q0"},
	} {
		s := startService(fails("q0", 0, c.asked))
		m := s.msg(t, 1)
		err := m.DoAndSubmit(s.at("q0"), func(*dtmcli.BranchBarrier) error { return c.local })
		check(errors.Is(err, c.local), "DoAndSubmit says %v", err)
		t.ends(m.Gid, c.status, "")
		s.expect(c.calls)
	}
}

// The initiator dies before it submits.
func msgQueryBack(t *Test) {
	s := startService(fails("q0", 1, dtmcli.ErrOngoing))
	m := s.msg(t, 2)
	m.TimeoutToFail = 1
	must(m.Prepare(s.at("q0")))
	t.ends(m.Gid, "succeed", "^$").marks("ss")
	s.expect("q0 q0 a1 a2")

	s = startService(fails("q0", 0, noMoney))
	m = s.msg(t, 1)
	m.TimeoutToFail = 1
	must(m.Prepare(s.at("q0")))
	t.ends(m.Gid, "failed", "").marks("p")
	s.expect("q0")
}

func msgDelay(t *Test) {
	var late atomic.Value
	s := startService(func(string, int) error {
		late.Store(time.Now())
		return nil
	})
	m := s.msg(t, 1).SetDelay(3)
	begin := time.Now()
	must(m.Prepare(s.at("q0")))
	must(m.Submit())
	t.ends(m.Gid, "succeed", "^$")
	s.expect("a1")
	least := 2950 * time.Millisecond
	if t.isGo { // it counts in whole seconds
		least = 2 * time.Second
	}
	check(late.Load().(time.Time).Sub(begin) >= least, "delivered after %v", late.Load().(time.Time).Sub(begin))
}

func msgTopic(t *Test) {
	s := startService(allFine)
	m := s.msg(t, 0)
	topic := "topic-" + m.Gid
	m.AddTopic(topic, pay)
	message := errorText(m.Submit())
	check(strings.Contains(message, "topic not found"), "Submit without subscribers says %q", message)
	for _, name := range []string{"a1", "a2"} {
		t.get("/subscribe?topic=" + topic + "&remark=r&url=" + url.QueryEscape(s.at(name)))
	}
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = m.Submit(); err == nil { // the Go server looks every few seconds who has subscribed
			break
		}
	}
	must(err)
	t.ends(m.Gid, "succeed", "^$").marks("ss")
	calls := strings.Join(s.Calls(), " ")
	check(calls == "a1 a2", "calls are %q", calls) // the branch ids of a topic are no numbers
}

func (t *Test) get(target string) {
	answer, err := http.Get(t.server + target)
	must(err)
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	check(answer.StatusCode == 200, "%s says %d %s", target, answer.StatusCode, body)
}

func msgConcurrent(t *Test) {
	var s *Service
	s = startService(func(name string, nth int) error {
		other := map[string]string{"a1": "a2", "a2": "a1"}[name]
		if !s.called(other, 2*time.Second) {
			return broken
		}
		return nil
	})
	s.together = []string{"a1 a2"}
	m := s.msg(t, 2)
	m.Concurrent = true
	must(m.Submit())
	t.ends(m.Gid, "succeed", "^$").marks("ss")
	s.expect("a1 a2", "a2 a1")
}

// --- tcc ---

// tcc calls so many branches, one after the other.
func (s *Service) tcc(t *Test, branches int, between func(branch int)) error {
	return dtmcli.TccGlobalTransaction(t.server, s.gid, func(tcc *dtmcli.Tcc) (*resty.Response, error) {
		for i := 1; i <= branches; i++ {
			if answer, err := s.branch(tcc, fmt.Sprint(i)); err != nil {
				return answer, err
			}
			between(i)
		}
		return nil, nil
	})
}

func (s *Service) branch(tcc *dtmcli.Tcc, id string) (*resty.Response, error) {
	return tcc.CallBranch(pay, s.at("t"+id), s.at("y"+id), s.at("n"+id))
}

func nothing(int) {}

func tcc(t *Test) {
	s := startService(fails("y2", 1, dtmcli.ErrOngoing))
	err := dtmcli.TccGlobalTransaction2(t.server, s.as(t, "tcc"), func(tcc *dtmcli.Tcc) {
		tcc.RetryInterval = 1
	}, func(tcc *dtmcli.Tcc) (*resty.Response, error) {
		_, err := s.branch(tcc, "1")
		must(err)
		return s.branch(tcc, "2")
	})
	must(err)
	t.ends(s.gid, "succeed", "^$").marks("psps")
	s.expect("t1 t2 y2 y2 y1")
	// No branch is accepted any more.
	late := dtmcli.Tcc{TransBase: *dtmimp.NewTransBase(s.gid, "tcc", t.server, "")}
	_, err = s.branch(&late, "1")
	check(strings.Contains(errorText(err), "FAILURE"), "CallBranch of an ended tcc says %v", err)
}

func tccFails(t *Test) {
	for which, calls := range map[string]string{"t1": "t1 n1", "t2": "t1 t2 n2 n1", "t3": "t1 t2 t3 n3 n2 n1"} {
		s := startService(fails(which, 1, noMoney))
		s.as(t, "tcc")
		err := s.tcc(t, 3, nothing)
		check(errors.Is(err, dtmcli.ErrFailure), "TccGlobalTransaction says %v", err)
		t.ends(s.gid, "failed", "no money")
		s.expect(calls)
	}
}

// The try of the first branch has one of its own, in its own name.
func tccNested(t *Test) {
	for _, fail := range []string{"", "t2"} {
		s := startService(fails(fail, 1, noMoney))
		s.together = []string{"t1 t0101"}
		s.inside = func(r *http.Request) error {
			if r.URL.Path != "/t1" {
				return nil
			}
			tcc, err := dtmcli.TccFromQuery(r.URL.Query())
			must(err)
			_, err = s.branch(tcc, "0101")
			return err
		}
		s.as(t, "tcc")
		err := s.tcc(t, 2, nothing)
		check((err == nil) == (fail == ""), "TccGlobalTransaction says %v", err)
		if err == nil {
			t.ends(s.gid, "succeed", "^$").marks("pspsps")
			s.expect("t1 t0101 t2 y2 y0101 y1")
		} else {
			t.ends(s.gid, "failed", "no money").marks("spspsp")
			s.expect("t1 t0101 t2 n2 n0101 n1")
		}
	}
}

func tccTimeout(t *Test) {
	s := startService(allFine)
	err := dtmcli.TccGlobalTransaction2(t.server, s.as(t, "tcc"), func(tcc *dtmcli.Tcc) {
		tcc.TimeoutToFail = 1
	}, func(tcc *dtmcli.Tcc) (*resty.Response, error) {
		_, err := s.branch(tcc, "1")
		must(err)
		t.ends(s.gid, "failed", `^Timeout after \d+ seconds$`)
		return s.branch(tcc, "2")
	})
	check(strings.Contains(errorText(err), "FAILURE"), "CallBranch after the timeout says %v", err)
	t.ends(s.gid, "failed", `^Timeout after \d+ seconds$`).marks("sp")
	s.expect("t1 n1")
}

// --- xa ---

// xaService answers as a branch does whose database has XA: it registers itself before it has prepared.
func xaService(t *Test, answer func(string, int) error) *Service {
	s := startService(answer)
	s.inside = func(r *http.Request) error {
		xa, err := dtmcli.XaFromQuery(r.URL.Query())
		must(err)
		if xa.Op != "action" {
			return nil
		}
		return dtmimp.TransRegisterBranch(&xa.TransBase,
			map[string]string{"url": xa.Phase2URL, "branch_id": xa.BranchID}, "registerBranch")
	}
	s.as(t, "xa")
	return s
}

func (s *Service) xa(t *Test) error {
	return dtmcli.XaGlobalTransaction2(t.server, s.gid, func(xa *dtmcli.Xa) {
		xa.RetryInterval = 1
	}, func(xa *dtmcli.Xa) (*resty.Response, error) {
		for _, name := range []string{"x1", "x2"} {
			if answer, err := xa.CallBranch(pay, s.at(name)); err != nil {
				return answer, err
			}
		}
		return xa.CallBranch(pay, s.at("x3"))
	})
}

func xa(t *Test) {
	s := xaService(t, fails("y2", 1, dtmcli.ErrOngoing))
	must(s.xa(t))
	t.ends(s.gid, "succeed", "^$").marks("pspsps")
	s.expect("a1 a2 a3 y1 y2 y2 y3") // in the order of registration
}

func xaFails(t *Test) {
	s := xaService(t, fails("a3", 1, noMoney))
	err := s.xa(t)
	check(errors.Is(err, dtmcli.ErrFailure), "XaGlobalTransaction says %v", err)
	t.ends(s.gid, "failed", "").marks("spsp")
	s.expect("a1 a2 a3 n1 n2")
}

// --- workflow ---

// A workflow of two steps here and one by a url; at the end all of them are told.
func startWorkflow(t *Test, name string, s *Service) {
	if !strings.HasPrefix(callback, "http") {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		callback = "http://" + listener.Addr().String() + "/resume"
		go http.Serve(listener, http.HandlerFunc(resume))
	}
	workflow.InitHTTP(t.server, callback)
	s.as(t, "workflow")
	must(workflow.Register2(name, func(wf *workflow.Workflow, data []byte) ([]byte, error) {
		check(string(data) == "data <ü>", "data are %q", data)
		step := func(id string) error {
			wf.NewBranch().OnRollback(func(*dtmcli.BranchBarrier) error {
				_, err := wf.NewRequest().SetBody(pay).Post(s.at("n" + id))
				return err
			}).OnCommit(func(*dtmcli.BranchBarrier) error {
				_, err := wf.NewRequest().SetBody(pay).Post(s.at("y" + id))
				return err
			})
			_, err := wf.NewRequest().SetBody(pay).Post(s.at("a" + id))
			return err
		}
		if err := step("1"); err != nil {
			return nil, err
		}
		did, err := wf.NewBranch().Do(func(*dtmcli.BranchBarrier) ([]byte, error) {
			return []byte(fmt.Sprintf("did it <ü> %d", atomic.AddInt32(&done, 1))), nil
		})
		if err != nil {
			return nil, err
		}
		return did, step("3")
	}, func(wf *workflow.Workflow) { wf.RetryInterval = 1 }))
}

var (
	callback string
	done     int32
)

func resume(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = workflow.ExecuteByQS(r.URL.Query(), body)
	}
	status, result := dtmcli.Result2HttpJSON(err)
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, result)
}

func workflowTwice(t *Test) {
	s := startService(allFine)
	startWorkflow(t, "twice", s)
	want := fmt.Sprintf("did it <ü> %d", atomic.LoadInt32(&done)+1)
	for i := 0; i < 2; i++ {
		result, err := workflow.Execute2("twice", s.gid, []byte("data <ü>"))
		must(err)
		check(string(result) == want, "result is %q", result)
	}
	t.ends(s.gid, "succeed", "^$")
	s.expect("a1 a3 y3 y1")
}

func workflowFails(t *Test) {
	s := startService(fails("a3", 1, noMoney))
	startWorkflow(t, "fails", s)
	for i := 0; i < 2; i++ {
		_, err := workflow.Execute2("fails", s.gid, []byte("data <ü>"))
		check(errors.Is(err, dtmcli.ErrFailure) && strings.Contains(errorText(err), "no money"), "Execute says %v", err)
	}
	t.ends(s.gid, "failed", "no money")
	s.expect("a1 a3 n1")
}

// A step has no answer yet: the server calls back.
func workflowResumed(t *Test) {
	for name, answer := range map[string]error{"ongoing": dtmcli.ErrOngoing, "commit": broken} { // that is a name too
		s := startService(fails("a3", 1, answer))
		startWorkflow(t, name, s)
		before := atomic.LoadInt32(&done)
		_, err := workflow.Execute2(name, s.gid, []byte("data <ü>"))
		check(err != nil && !errors.Is(err, dtmcli.ErrFailure), "Execute says %v", err)
		t.ends(s.gid, "succeed", "^$")
		s.expect("a1 a3 a3 y3 y1")
		check(atomic.LoadInt32(&done) == before+1, "a recorded step ran again")
	}
}

// --- crashes ---

func crashMsg(t *Test) {
	s := startService(fails("a2", 1, dtmcli.ErrOngoing))
	m := s.msg(t, 2)
	err := m.DoAndSubmit(s.at("q0"), func(*dtmcli.BranchBarrier) error {
		t.crash()
		return nil
	})
	must(err)
	t.ends(m.Gid, "succeed", "^$").marks("ss")
	s.expect("a1 a2 a2")

	asked := startService(allFine)
	m = asked.msg(t, 1)
	m.TimeoutToFail = 1
	must(m.Prepare(asked.at("q0")))
	t.crash()
	t.ends(m.Gid, "succeed", "^$")
	// If the crash comes after the timeout, the question may have been answered to the dead.
	asked.expect("q0 a1", "q0 q0 a1")
}

func crashTcc(t *Test) {
	s := startService(allFine)
	s.as(t, "tcc")
	must(s.tcc(t, 2, func(branch int) {
		if branch == 1 {
			t.crash()
		}
	}))
	t.ends(s.gid, "succeed", "^$").marks("psps")
	s.expect("t1 t2 y2 y1")

	// While it is confirmed.
	crashed := make(chan struct{})
	s = startService(func(name string, nth int) error {
		if name == "y2" && nth == 1 {
			<-crashed
		}
		return nil
	})
	s.together = []string{"y2 y2", "y2 y1"} // the caller of the first is dead
	s.as(t, "tcc")
	must(s.tcc(t, 2, nothing))
	check(s.called("y2", t.deadline), "y2 was not called")
	t.crash()
	close(crashed)
	t.ends(s.gid, "succeed", "^$").marks("psps")
	s.expect("t1 t2 y2 y2 y1")

	// The initiator died before the submit.
	s = startService(allFine)
	tcc := dtmcli.Tcc{TransBase: *dtmimp.NewTransBase(s.as(t, "tcc"), "tcc", t.server, "")}
	tcc.TimeoutToFail = 1
	must(dtmimp.TransCallDtm(&tcc.TransBase, "prepare"))
	for _, id := range []string{"1", "2"} {
		_, err := s.branch(&tcc, id)
		must(err)
	}
	t.crash()
	t.ends(s.gid, "failed", `^Timeout after \d+ seconds$`)
	s.expect("t1 t2 n2 n1")
}

func crashWorkflow(t *Test) {
	s := startService(fails("a3", 1, broken))
	startWorkflow(t, "crash", s)
	before := atomic.LoadInt32(&done)
	_, err := workflow.Execute2("crash", s.gid, []byte("data <ü>"))
	check(err != nil, "Execute says it is done")
	t.crash()
	t.ends(s.gid, "succeed", "^$")
	s.expect("a1 a3 a3 y3 y1")
	check(atomic.LoadInt32(&done) == before+1, "a recorded step ran again")
}
