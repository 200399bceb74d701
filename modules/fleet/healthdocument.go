package fleet

import (
	"fmt"
	"time"
)

// HealthDocument is how a gateway is, as draft-inadarei-api-health-check-06
// (application/health+json) has it.
type HealthDocument struct {
	// Status is [HealthPass], [HealthWarn] or [HealthFail].
	Status string `json:"status"`
	// Version is that of this plugin.
	Version string `json:"version"`
	// Federation is its name.
	Federation string `json:"serviceId"`
	// Output says in words what is wrong, or is empty.
	Output string `json:"output,omitempty"`
	// Checks are by what they look at: store, gateways:count, nodes:available,
	// alerts:deliveries where there are webhooks, and node:<slug> for nodes
	// that are not well.
	Checks map[string][]HealthCheck `json:"checks,omitempty"`
}

// HealthCheck is one thing that was looked at.
type HealthCheck struct {
	ComponentType string `json:"componentType"`
	ObservedValue any    `json:"observedValue,omitempty"`
	ObservedUnit  string `json:"observedUnit,omitempty"`
	Status        string `json:"status"`
	Time          string `json:"time"`
	Output        string `json:"output,omitempty"`
}

// The states of a health document, the better ones first.
const (
	HealthPass = "pass"
	HealthWarn = "warn" // it works, and somebody should look
	HealthFail = "fail" // no traffic should come here
)

// documentTime is RFC 3339 with milliseconds.
const documentTime = "2006-01-02T15:04:05.000Z07:00"

// Alive is the document of a gateway that answers: no more than that.
func (a *App) Alive() HealthDocument {
	return HealthDocument{Status: HealthPass, Version: version(), Federation: a.Name}
}

// alertsWaitLong is how long a queue of alerts may not be empty.
const alertsWaitLong = time.Minute

// Examine looks at what the gateway needs to do its work: at what it knows,
// with no question to anybody. nodes adds the nodes that are not well, by
// name, for those who may read nodes.
func (a *App) Examine(nodes bool) HealthDocument {
	d := a.Alive()
	d.Checks = make(map[string][]HealthCheck)
	d.add("store", a.examineStore())
	d.add("gateways:count", a.examineGateways())
	d.add("nodes:available", a.examineAvailable())
	if alerts := a.AlertStatus(); len(alerts.Webhooks) > 0 {
		check := HealthCheck{ComponentType: "component", ObservedValue: alerts.Pending, ObservedUnit: "messages that wait", Status: HealthPass}
		waiting := alerts.waitingFor()
		if waiting > alertsWaitLong { // this gateway may not be the one that sends them
			check.Status, check.Output = HealthWarn, "alerts have been waiting for a webhook for "+waiting.Round(time.Second).String()
		}
		if alerts.LastError != "" {
			check.Status = HealthWarn
			if check.Output != "" {
				check.Output = "; " + check.Output
			}
			check.Output = "alerts do not arrive: " + alerts.LastError + check.Output
		}
		d.add("alerts:deliveries", check)
	}
	if nodes {
		for _, node := range a.Snapshot().Nodes {
			if check, unwell := node.examine(); unwell {
				d.add("node:"+node.Slug, check)
			}
		}
	}
	return d
}

// add notes a check; the worst one decides, and of equals the first.
func (d *HealthDocument) add(name string, check HealthCheck) {
	check.Time = time.Now().UTC().Format(documentTime)
	d.Checks[name] = append(d.Checks[name], check)
	if check.Status == HealthFail && d.Status != HealthFail || check.Status == HealthWarn && d.Status == HealthPass {
		d.Status, d.Output = check.Status, check.Output
	}
}

func (a *App) examineStore() HealthCheck {
	check := HealthCheck{ComponentType: "datastore", Status: HealthPass}
	state := a.StoreState()
	switch {
	case a.Store() == nil:
		check.Status, check.Output = HealthFail, "the gateway is still starting"
	case !state.Usable: // a declared mode, not an outage
		check.Status, check.Output = HealthWarn, "the store cannot be used since "
		if state.Full {
			check.Output = "the store is full and takes nothing since "
		}
		check.Output += state.Since.UTC().Format(documentTime)
		check.ObservedValue, check.ObservedUnit = state.Modes, "mode per feature"
	}
	return check
}

func (a *App) examineGateways() HealthCheck {
	members := a.Members()
	check := HealthCheck{ComponentType: "component", ObservedValue: members.Count(), ObservedUnit: "gateways", Status: HealthPass}
	switch {
	case members.Drift:
		check.Status, check.Output = HealthWarn, "gateways run with different configurations of the federation"
	case members.Skew.Abs() > clockSkewBound:
		check.Status = HealthWarn
		check.Output = "this gateway's clock is " + members.Skew.Abs().Round(time.Millisecond).String() + " from the store's"
	}
	return check
}

func (a *App) examineAvailable() HealthCheck {
	total, available, out := 0, 0, 0
	for _, node := range a.Snapshot().Nodes {
		total++
		switch {
		case node.Refusal() == "":
			available++
		case node.AdminState != AdminEnabled && node.AdminState != AdminPending:
			out++
		}
	}
	check := HealthCheck{ComponentType: "component", ObservedValue: available, ObservedUnit: "nodes", Status: HealthPass}
	switch {
	case total > 0 && available == 0:
		check.Status, check.Output = HealthFail, "no node is available"
	case available < total:
		check.Status, check.Output = HealthWarn, fmt.Sprintf("%d of %d nodes are not available", total-available, total)
		if out > 0 { // they are not named: what the operator wanted is no news to the operator
			check.Output += fmt.Sprintf(", %d of them by the word of an operator", out)
		}
	}
	return check
}

// examine tells whether somebody should look at the node. What the operator
// wanted is no news to the operator.
func (n *Node) examine() (check HealthCheck, unwell bool) {
	health := n.Health()
	check = HealthCheck{ComponentType: "component", ObservedValue: health.State, Status: HealthWarn}
	refusal := n.Refusal()
	switch {
	case n.AdminState == AdminPending:
		check.Output = "waits for approval"
	case n.AdminState != AdminEnabled:
		return check, false
	case health.State == HealthUnhealthy && health.Reason == "": // the last check went well
		check.Output = "is not called: it is to pass more checks first"
	case health.State == HealthUnhealthy:
		check.Output = "is not called: " + health.Reason
	case refusal != "":
		check.Output = "is not called: " + refusal
		if breaker := n.Breaker(); breaker.Reason != "" && refusal == reasonOpen {
			check.Output += ", " + breaker.Reason
		}
	case health.State == HealthDegraded:
		check.Output = health.Reason
	default:
		return check, false
	}
	return check, true
}
