package join

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"
)

const (
	challengeLimit = 10 * time.Second // for an answer that a master gives without asking anybody
	answerLimit    = 30 * time.Second // for one that STS and EC2 are asked for
	maxAnswer      = 1 << 20          // bytes
)

// soundNonce is what may stand in a header: a nonce is signed as one.
var soundNonce = regexp.MustCompile(`^[!-~]{1,128}$`)

// ask goes through the protocol with one master and closes the connection. With the last that is left it has patience.
func (s *seeker) ask(ctx context.Context, conn net.Conn, address string, last bool) ([][]byte, error) {
	defer conn.Close()
	s.latest = address
	secure, err := s.handshake(ctx, conn, last)
	if err != nil {
		return nil, err
	}
	// The HTTP is spoken over this one connection, without net/http's pool: behind a load balancer another connection
	// may reach another master, which does not know the nonce.
	line := &line{conn: secure, reader: bufio.NewReader(secure), host: ServerName(s.Cluster)}
	challenge, err := line.challenge(ctx)
	if err != nil {
		return nil, err
	}
	body, err := s.body(challenge.Nonce)
	if err != nil {
		return nil, &ownError{"request", err}
	}
	sum := sha256.Sum256(body)
	url, err := s.Prove(ctx, map[string]string{
		BodyHeader: hex.EncodeToString(sum[:]), ClusterHeader: s.Cluster, NonceHeader: challenge.Nonce,
	}, challenge.Time)
	if err == nil && len(url) > MaxProof {
		err = fmt.Errorf("%d bytes: at most %d", len(url), MaxProof)
	}
	if err != nil {
		return nil, &ownError{"proof", err}
	}
	certificates, err := line.certificates(ctx, body, url)
	if err != nil {
		return nil, err
	}
	if err := s.verify(certificates, time.Now()); err != nil {
		return nil, fmt.Errorf("its answer is of no use: %w", err)
	}
	return certificates, nil
}

func (s *seeker) body(nonce string) ([]byte, error) {
	body := Body{Version: Protocol, Cluster: s.Cluster, Instance: s.Instance, Node: s.Node, Nonce: nonce}
	for _, r := range s.requests {
		body.Requests = append(body.Requests, Request{Name: r.Name, CSR: r.CSR})
	}
	data, err := json.Marshal(body)
	if err == nil && len(data) > MaxBody {
		err = fmt.Errorf("%d bytes: at most %d", len(data), MaxBody)
	}
	return data, err
}

// line is a connection to a master.
type line struct {
	conn   net.Conn
	reader *bufio.Reader
	host   string
}

func (l *line) challenge(ctx context.Context) (Challenge, error) {
	var c Challenge
	if err := l.call(ctx, challengeLimit, http.MethodGet, NoncePath, nil, "", &c); err != nil {
		return c, fmt.Errorf("nonce: %w", err)
	}
	switch {
	case c.Version != Protocol:
		return c, fmt.Errorf("nonce: it speaks version %d of the protocol, and this agent speaks %d", c.Version, Protocol)
	case !soundNonce.MatchString(c.Nonce):
		return c, fmt.Errorf("nonce: %.40q cannot be signed", c.Nonce)
	case c.Time.IsZero():
		return c, errors.New("nonce: without the master's time")
	}
	return c, nil
}

func (l *line) certificates(ctx context.Context, body []byte, proof string) ([][]byte, error) {
	var c Certificates
	if err := l.call(ctx, answerLimit, http.MethodPost, JoinPath, body, proof, &c); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return c.Certificates, nil
}

// call makes one request and decodes its answer, which is a *refused error when the master did not grant it.
func (l *line) call(ctx context.Context, limit time.Duration, method, path string, body []byte, proof string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+l.host+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if proof != "" {
		request.Header.Set(ProofHeader, proof)
		request.Header.Set("Content-Type", "application/json")
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) }) // cuts off what blocks below
	defer stop()
	if err := request.Write(l.conn); err != nil {
		return bare(err)
	}
	response, err := http.ReadResponse(l.reader, request)
	if err != nil {
		return bare(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return bare(err)
	}
	if response.StatusCode != http.StatusOK {
		return refusedBy(response, data)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("its answer is not JSON of this protocol: %w", err)
	}
	return nil
}
