// The services that a saga calls: they record every call, check what is the same for all, and answer as the scenario wants.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dtm-labs/client/dtmcli"
)

// Service serves the urls /a1, /c1, /a2, ...: action and compensation of step 1, 2, ... Also: /t1 try, /y1 confirm or
// commit, /n1 cancel or rollback (/t0101 of a nested branch), /x1 of an xa branch is a1, y1 or n1, /q0 was it committed.
type Service struct {
	url      string
	answer   func(name string, nth int) error // of the nth call (from 1) of that name; may block. nil: success
	headers  map[string]string                // what every call must carry
	kind     string                           // its trans_type; "": saga
	inside   func(*http.Request) error        // what branches do besides; nil: nothing
	gid      string                           // its saga
	payloads []string                         // what every step must get as its body
	together []string                         // "a1 a2": these may be out at the same time

	mutex    sync.Mutex
	calls    []string       // names, in the order of arrival
	out      map[string]int // those that are not answered yet
	wrong    []string       // what was not right about them
	expected int            // so many are all that may come; 0: not known
}

var services []*Service // of all scenarios

func startService(answer func(name string, nth int) error) *Service {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s := &Service{url: "http://" + listener.Addr().String(), answer: answer, out: map[string]int{}}
	go http.Serve(listener, s)
	services = append(services, s)
	return s
}

// saga builds one of so many steps. Its urls have a query of their own, which must be kept.
func (s *Service) saga(t *Test, steps int) *dtmcli.Saga {
	saga := dtmcli.NewSaga(t.server, dtmcli.MustGenGid(t.server))
	payloads := []interface{}{map[string]interface{}{"amount": 30, "text": "<ü&>"}, nil, "text", []int{}}
	for i := 1; i <= steps; i++ {
		saga.Add(fmt.Sprintf("%s/a%d?shop=7", s.url, i), fmt.Sprintf("%s/c%d?shop=7", s.url, i), payloads[(i-1)%len(payloads)])
	}
	s.gid, s.payloads = saga.Gid, saga.Payloads
	return saga
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[1:]
	if name[0] == 'x' {
		name = letters[r.URL.Query().Get("op")] + name[1:]
	}
	body, err := io.ReadAll(r.Body)
	s.mutex.Lock()
	s.calls = append(s.calls, name)
	nth := count(s.calls, name)
	for other, n := range s.out {
		if n > 0 && count(s.together, name+" "+other)+count(s.together, other+" "+name) == 0 {
			s.wrong = append(s.wrong, name+": came before "+other+" was answered")
		}
	}
	s.out[name]++
	for _, problem := range append(s.problems(name, r, string(body)), errorText(err)) {
		if problem != "" {
			s.wrong = append(s.wrong, name+": "+problem)
		}
	}
	s.mutex.Unlock()

	// Real branches written in Go answer with this function.
	err = s.answer(name, nth)
	if err == nil && s.inside != nil {
		err = s.inside(r)
	}
	status, result := dtmcli.Result2HttpJSON(err)
	time.Sleep(10 * time.Millisecond) // time for what must not come now
	s.mutex.Lock()
	s.out[name]--
	s.mutex.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result)
}

var letters = map[string]string{"action": "a", "compensate": "c", "try": "t", "confirm": "y", "commit": "y", "cancel": "n",
	"rollback": "n", "msg": "q"}

func (s *Service) problems(name string, r *http.Request, body string) []string {
	query := r.URL.Query()
	kind, op, step := s.kind, query.Get("op"), int(name[len(name)-1]-'0')
	if kind == "" {
		kind = "saga"
	}
	if step < 0 || step > len(s.payloads) || (step == 0) != (name[0] == 'q') {
		return []string{"no such branch"}
	}
	id := name[1:] // of a nested branch
	if len(id) == 1 {
		id = "0" + id
	}
	method, payload, parameters := "POST", "", 5
	if step > 0 {
		payload = s.payloads[step-1]
	} else {
		method = "GET"
	}
	if kind == "xa" && op != "action" {
		payload = ""
	}
	if query.Get("dtm") != "" { // by the initiator itself
		parameters++
	}
	if query.Get("phase2_url") != "" {
		parameters++
	}
	var problems []string
	expect := func(what, got, want string) {
		if got != want {
			problems = append(problems, fmt.Sprintf("%s is %q and should be %q", what, got, want))
		}
	}
	expect("method", r.Method, method)
	expect("body", body, payload)
	if payload != "" {
		expect("Content-Type", r.Header.Get("Content-Type"), "application/json")
	}
	expect("gid", query.Get("gid"), s.gid)
	expect("trans_type", query.Get("trans_type"), kind)
	expect("branch_id", query.Get("branch_id"), id)
	expect("op", letters[op], name[:1])
	expect("shop", query.Get("shop"), "7")
	expect("number of query parameters", fmt.Sprint(len(query)), fmt.Sprint(parameters))
	for name, value := range s.headers {
		expect(name, r.Header.Get(name), value)
	}
	return problems
}

// Calls so far.
func (s *Service) Calls() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]string(nil), s.calls...)
}

// expect fails unless the calls came like one of these, and nothing was wrong about them.
func (s *Service) expect(anyOf ...string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	calls := strings.Join(s.calls, " ")
	check(count(anyOf, calls) > 0, "calls are %q and should be %q", calls, anyOf)
	check(len(s.wrong) == 0, "%v", s.wrong)
	s.expected = len(s.calls)
}

// called waits until the name has been called.
func (s *Service) called(name string, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if count(s.Calls(), name) > 0 {
			return true
		}
	}
	return false
}

func count(names []string, name string) (n int) {
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
