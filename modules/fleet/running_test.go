package fleet

import (
	"slices"
	"testing"
)

func TestRunningIsTheFederationThatWasStartedLastAndStillRuns(t *testing.T) {
	name := t.Name()
	f := run(t, "node a http://127.0.0.1:1")
	old := f.app
	if Running(name) != old || !slices.Contains(RunningNames(), name) {
		t.Fatal("a federation that runs is not found")
	}
	next := &App{Name: name} // started by a new config, before the old one is stopped
	next.enter()
	if Running(name) != next {
		t.Error("the new one is not found")
	}
	next.leave() // the new config failed
	if Running(name) != old {
		t.Error("the old one does not stand again")
	}
	next.enter()
	f.halt()
	if Running(name) != next {
		t.Error("stopping the old one took the new one out")
	}
	next.leave()
	if Running(name) != nil || slices.Contains(RunningNames(), name) {
		t.Error("a federation that was stopped is still found")
	}
}

func TestSettingsAreWhatIsConfigured(t *testing.T) {
	f := run(t, "node_defaults {\nweight 3\nheader_up X-Default secret\n}\nnode a http://127.0.0.1:1/ {\nname A\ncredentials bearer secret\nheader_up X-Secret secret\n}")
	settings := f.node("a").Settings()
	if settings.Name != "A" || settings.Weight != 3 || settings.URL != "http://127.0.0.1:1" || settings.Type != "child" || settings.MaxRequests != defaultMaxRequests {
		t.Errorf("%+v", settings)
	}
	if settings.Credentials != nil || settings.HeaderUp != nil || settings.TransportRaw != nil {
		t.Errorf("secrets are shown: %+v", settings)
	}
	if fixed := f.app.FixedSettings("a"); !slices.Equal(fixed, []string{"slug", "url", "name", "credentials", "header_up"}) {
		t.Errorf("fixed are %v", fixed)
	}
	if fixed := f.app.FixedSettings("b"); fixed != nil {
		t.Errorf("a node that is not in the file has %v fixed", fixed)
	}
	complete := f.app.Complete(NodeConfig{Slug: "b", URL: "http://127.0.0.1:2"})
	if complete.Weight != 3 || complete.Name != "b" || complete.AdminState != AdminEnabled || complete.HeaderUp != nil {
		t.Errorf("%+v", complete)
	}
}
