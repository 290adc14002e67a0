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

// Service serves the urls /a1, /c1, /a2, ...: action and compensation of step 1, 2, ...
type Service struct {
	url      string
	answer   func(name string, nth int) error // of the nth call (from 1) of that name; may block. nil: success
	headers  map[string]string                // what every call must carry
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
	status, result := dtmcli.Result2HttpJSON(s.answer(name, nth))
	time.Sleep(10 * time.Millisecond) // time for what must not come now
	s.mutex.Lock()
	s.out[name]--
	s.mutex.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result)
}

func (s *Service) problems(name string, r *http.Request, body string) []string {
	var step int
	var kind byte
	if n, _ := fmt.Sscanf(name, "%c%d", &kind, &step); n != 2 || step < 1 || step > len(s.payloads) {
		return []string{"no such branch"}
	}
	var problems []string
	expect := func(what, got, want string) {
		if got != want {
			problems = append(problems, fmt.Sprintf("%s is %q and should be %q", what, got, want))
		}
	}
	query := r.URL.Query()
	expect("method", r.Method, "POST")
	expect("body", body, s.payloads[step-1])
	expect("Content-Type", r.Header.Get("Content-Type"), "application/json")
	expect("gid", query.Get("gid"), s.gid)
	expect("trans_type", query.Get("trans_type"), "saga")
	expect("branch_id", query.Get("branch_id"), fmt.Sprintf("%02d", step))
	expect("op", query.Get("op"), map[byte]string{'a': "action", 'c': "compensate"}[kind])
	expect("shop", query.Get("shop"), "7")
	expect("number of query parameters", fmt.Sprint(len(query)), "5")
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
