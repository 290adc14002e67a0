// Runs transactions with dtm's own Go client against a server, and checks from outside what came of them.
//
//	interop URL ours|go        see ../run.py, which starts it and the server
//
// Needs: the module github.com/dtm-labs/client. The scenarios are in scenarios.go (sagas) and others.go.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/dtm-labs/client/dtmcli/logger"
)

// Test is what a scenario gets.
type Test struct {
	server   string        // base URL, with /api/dtmsvr
	isGo     bool          // the server is the real one, written in Go: docs/http_api.md says where it differs
	deadline time.Duration // for everything that is waited for
	answers  *bufio.Reader // of run.py
}

// Saga is what GET query says about one.
type Saga struct {
	Transaction *struct {
		Status       string
		Reason       string     `json:"rollback_reason"`
		FinishTime   *time.Time `json:"finish_time"`
		RollbackTime *time.Time `json:"rollback_time"`
	}
	Branches []struct {
		ID     string `json:"branch_id"`
		Op     string
		Status string
	}
}

func (t *Test) query(gid string) (saga Saga) {
	response, err := http.Get(t.server + "/query?gid=" + gid)
	must(err)
	defer response.Body.Close()
	must(json.NewDecoder(response.Body).Decode(&saga))
	check(saga.Transaction != nil, "%s is unknown", gid)
	return
}

// ends waits until the saga has ended, which must be like this; reason is a regular expression.
func (t *Test) ends(gid, status, reason string) Saga {
	var saga Saga
	for end := time.Now().Add(t.deadline); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		saga = t.query(gid)
		if saga.Transaction.Status == "succeed" || saga.Transaction.Status == "failed" {
			break
		}
	}
	check(saga.Transaction.Status == status, "status is %s and should be %s", saga.Transaction.Status, status)
	check(regexp.MustCompile(reason).MatchString(saga.Transaction.Reason), "reason is %q", saga.Transaction.Reason)
	check((saga.Transaction.FinishTime != nil) == (status == "succeed"), "finish_time is %v", saga.Transaction.FinishTime)
	check((saga.Transaction.RollbackTime != nil) == (status == "failed"), "rollback_time is %v", saga.Transaction.RollbackTime)
	return saga
}

// rows checks the statuses of c1, a1, c2, a2, ...: their first letters.
func (saga Saga) rows(statuses string) {
	got := ""
	for i, row := range saga.Branches {
		id, op := fmt.Sprintf("%02d", i/2+1), []string{"compensate", "action"}[i%2]
		check(row.ID == id && row.Op == op, "row %d is %s %s and should be %s %s", i, row.ID, row.Op, id, op)
		got += row.Status[:1]
	}
	check(got == statuses, "rows are %q and should be %q", got, statuses)
}

// marks checks the statuses of the branches, in the order of their rows: their first letters.
func (saga Saga) marks(statuses string) {
	got := ""
	for _, row := range saga.Branches {
		got += row.Status[:1]
	}
	check(got == statuses, "statuses are %q and should be %q", got, statuses)
}

// crash has the server killed and started again on its data.
func (t *Test) crash() {
	fmt.Println("crash")
	line, err := t.answers.ReadString('\n')
	must(err)
	check(strings.TrimSpace(line) == "ready", "the server did not come back: %s", line)
}

// failure of a scenario.
type failure string

func check(ok bool, format string, values ...interface{}) {
	if !ok {
		panic(failure(fmt.Sprintf(format, values...)))
	}
}

func must(err error) {
	check(err == nil, "%v", err)
}

func (t *Test) run(name string, scenario func(*Test)) {
	defer func() {
		switch problem := recover().(type) {
		case nil:
			fmt.Println("ok", name)
		default:
			fmt.Printf("FAILED %s: %s\n", name, strings.ReplaceAll(fmt.Sprint(problem), "\n", " "))
		}
	}()
	scenario(t)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: interop URL ours|go")
		os.Exit(2)
	}
	logger.InitLog("warn") // to stdout, where run.py reads
	t := &Test{server: os.Args[1], isGo: os.Args[2] == "go", deadline: 20 * time.Second, answers: bufio.NewReader(os.Stdin)}
	if t.isGo {
		t.deadline = 60 * time.Second // it looks every 3 s what is due
	}
	for _, scenario := range append(scenarios, otherScenarios...) {
		t.run(scenario.name, scenario.run)
	}
}
