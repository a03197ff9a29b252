package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ejabberdYML takes two ports, the second for those who begin with a PROXY header. Whoever gives a name and a password
// is welcome.
const ejabberdYML = `hosts: [localhost]
loglevel: info
auth_method: [anonymous]
anonymous_protocol: login_anon
allow_multiple_connections: true
listen:
  - port: %s
    ip: 127.0.0.1
    module: mod_mqtt
    backlog: 100
  - port: %s
    ip: 127.0.0.1
    module: mod_mqtt
    use_proxy_protocol: true
modules:
  mod_mqtt: {}
`

// StartEjabberd starts the ejabberd of Debian that is installed on this machine, which speaks MQTT 5 and 3.1.1: one
// node, or a cluster. It returns when all nodes take MQTT clients. The error wraps [ErrNotInstalled] if there is none
// to start.
func StartEjabberd(ctx context.Context, nodes int) (*Cluster, error) {
	found, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	erl, noErl := exec.LookPath("erl")
	if err != nil || len(found) == 0 || noErl != nil {
		return nil, fmt.Errorf("%w: ejabberd", ErrNotInstalled)
	}
	c, err := newCluster("ejabberd")
	if err != nil {
		return nil, err
	}
	c.v5, c.user = true, "u@localhost"
	libraries := filepath.Dir(filepath.Dir(filepath.Dir(found[0])))
	if err = c.startEjabberd(ctx, erl, libraries, nodes); err == nil {
		err = c.welcomed(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// startEjabberd starts nodes without the broker. The first one makes the database on all of them, which can be done
// only before any uses it, and then starts the broker on each.
func (c *Cluster) startEjabberd(ctx context.Context, erl, libraries string, nodes int) error {
	names := []string{"epmd"}
	for i := range nodes {
		names = append(names, nodeName(i))
	}
	all := "['" + strings.Join(names[1:], "','") + "']"
	for i := range nodes {
		names = append(names, proxied(i))
	}
	urls, err := addresses(&c.ports, c.dir, names)
	if err != nil {
		return err
	}
	env, err := c.startNames(ctx, urls["epmd"].Hostname(), urls["epmd"].Port())
	if err != nil {
		return err
	}
	for i, name := range names[1 : 1+nodes] {
		c.urls = append(c.urls, &url.URL{Scheme: TCP, Host: urls[name].Host})
		c.proxied = append(c.proxied, &url.URL{Scheme: TCP, Host: urls[proxied(i)].Host})
		dir := filepath.Join(c.dir, fmt.Sprint("node", i))
		conf := filepath.Join(dir, "ejabberd.yml")
		err := errors.Join(
			os.Mkdir(dir, 0o700),
			os.WriteFile(conf, fmt.Appendf(nil, ejabberdYML, urls[name].Port(), c.proxied[i].Port()), 0o600),
		)
		if err != nil {
			return err
		}
		args := []string{
			"-noinput", "+sbwt", "none", "-sname", name, "-start_epmd", "false",
			"-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(dir, "db")),
		}
		if i == 0 {
			args = append(args, "-eval", fmt.Sprintf(`All = %s,
				Wait = fun W(N) -> net_adm:ping(N) =:= pong orelse begin timer:sleep(20), W(N) end end,
				[Wait(N) || N <- All], ok = mnesia:create_schema(All),
				[{ok, _} = rpc:call(N, ejabberd, start, []) || N <- All].`, all))
		}
		command := exec.Command(erl, args...)
		command.Dir = dir
		command.Env = append(env, "ERL_LIBS="+libraries, "EJABBERD_CONFIG_PATH="+conf,
			"EJABBERD_LOG_PATH="+filepath.Join(dir, "log", "ejabberd.log"))
		if err := c.run(spawn("ejabberd", command)); err != nil {
			return err
		}
	}
	return nil
}

// proxied is what the address of a node for PROXY headers is called.
func proxied(i int) string { return fmt.Sprint("proxied", i) }

// nodeName is what a node in Erlang is called.
func nodeName(i int) string { return fmt.Sprintf("node%d@localhost", i) }
