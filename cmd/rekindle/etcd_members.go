package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/etcd"
	"rekindle/agent/status"
)

func etcdMembersCommand(flags *etcdFlags) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "members",
		Short: "show the members, as the lineage has them and as etcd sees them",
		Long: `On a master etcd itself is asked, too: ETCD is what a quorum says, HEALTH what each member says. Elsewhere the lineage is all there is.
Exits with 3 when something is being waited for, or a member is not well.`,
		Example: `  rekindle etcd members
  rekindle etcd members --etcd events --format json | jq .waits`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			seen := d.members(c, flags)
			if format == "json" {
				err = printJSON(d.out, seen)
			} else {
				err = d.printMembers(seen)
			}
			if err == nil && !seen.well() {
				return exit{code: exitNotYet}
			}
			return err
		},
	}
	command.Flags().StringVar(&format, "format", "text", "text or json")
	return command
}

// membership is what `etcd members` prints.
type membership struct {
	Cluster string             `json:"cluster"`
	Lineage *etcd.Lineage      `json:"lineage"`
	Unknown string             `json:"unknown,omitempty"` // why the lineage cannot be read
	Quorum  *bool              `json:"quorum,omitempty"`  // absent: nobody was asked
	Why     string             `json:"why,omitempty"`     // why etcd or EC2 was not asked, or did not answer
	Members []etcd.MemberState `json:"members"`
	Waits   []string           `json:"waits"` // what is being waited for
	// Decided is what the agent of this node decided last.
	Decided *decided `json:"decided,omitempty"`
}

type decided struct {
	Verdict string    `json:"verdict"`
	Row     string    `json:"row"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
}

func (d *desk) members(c *cobra.Command, flags *etcdFlags) membership {
	seen := membership{Cluster: d.operator.Cluster, Lineage: d.Record, Members: []etcd.MemberState{}, Waits: []string{}}
	if d.Instance != "" {
		seen.Decided = decision(flags.shared.path(statusPath), d.operator.Cluster)
	}
	if d.Unknown != nil {
		seen.Unknown = d.Unknown.Error()
	}
	if d.Record == nil {
		return seen
	}
	asked, why := d.ask(c.Context())
	states, err := d.states(c.Context())
	if err != nil {
		why = strings.TrimPrefix(why+"; EC2 was not asked: "+err.Error(), "; ")
	}
	seen.Why = why
	if asked != nil {
		quorum := asked.View != nil
		seen.Quorum = &quorum
	}
	seen.Members = etcd.Beside(d.Record, asked, states)
	seen.Waits = append(seen.Waits, etcd.Waits(d.Record, asked)...)
	return seen
}

// decision is what the agent of this node decided last; nil when it has not run.
func decision(path, cluster string) *decided {
	now, err := status.Read(path)
	if err != nil {
		return nil
	}
	for _, e := range now.Etcd {
		if e.Cluster == cluster {
			return &decided{e.Verdict, e.Row, e.Why, e.Decided}
		}
	}
	return nil
}

func (m membership) well() bool {
	if m.Lineage == nil || len(m.Waits) > 0 {
		return false
	}
	for _, one := range m.Members {
		if one.Health != "" && one.Health != "ok" || len(one.Alarms) > 0 || !one.Listed || one.InEtcd != nil && !*one.InEtcd {
			return false
		}
	}
	return true
}

func (d *desk) printMembers(seen membership) error {
	d.say("%s", d.title())
	if d.Record == nil && d.Unknown == nil {
		d.say("no record of members; if the cluster has lived, see `rekindle etcd adopt --help`")
	}
	if len(seen.Members) > 0 {
		d.say("")
		if err := columns(d.out, memberRows(seen)); err != nil {
			return err
		}
		d.say("")
	}
	if seen.Why != "" {
		d.say("%s", seen.Why)
	}
	for _, wait := range seen.Waits {
		d.say("waits for %s", wait)
	}
	if len(seen.Waits) == 0 && seen.Quorum != nil {
		d.say("a quorum answers, and nothing is being waited for")
	}
	if t := seen.Decided; t != nil {
		d.say("this node's agent, %s: %s (%s: %s)", etcd.Age(time.Now(), t.At), t.Verdict, t.Row, t.Why)
	}
	return nil
}

func memberRows(seen membership) [][]string {
	head := []string{"MEMBER", "INSTANCE", "EC2", "ADDRESS", "LINEAGE"}
	if seen.Quorum != nil {
		head = append(head, "ETCD", "HEALTH", "VERSION", "DB", "IN USE", "REVISION", "ALARMS")
	}
	rows := [][]string{head}
	for _, m := range seen.Members {
		row := []string{m.Name, m.Instance, m.EC2, m.Address, inLineage(m)}
		if seen.Quorum != nil {
			row = append(row, inEtcd(m), etcd.Brief(m.Health), m.Version, size(m.DBSize), size(m.InUse), number(m.Revision), strings.Join(m.Alarms, " "))
		}
		rows = append(rows, row)
	}
	return rows
}

func inLineage(m etcd.MemberState) string {
	text := m.Role
	switch {
	case !m.Listed:
		return "not listed"
	case m.Lost != "":
		text += ", lost (" + m.Lost + ")"
	}
	if m.Position != nil {
		text += fmt.Sprintf(", at term %d index %d", m.Position.Term, m.Position.Index)
	}
	return text
}

func inEtcd(m etcd.MemberState) string {
	switch {
	case m.InEtcd == nil:
		return "?"
	case !*m.InEtcd:
		return "no member"
	case m.Leader:
		return m.EtcdRole + ", leader"
	}
	return m.EtcdRole
}

func size(n int64) string {
	if n == 0 {
		return ""
	}
	return status.Bytes(n)
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
