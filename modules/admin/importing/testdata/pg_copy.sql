--
-- PostgreSQL database dump
--

\restrict fBxv04AJvP6cduC0R6BsyP8NbR5th7mlJCaR48jtkC4tS6d186YuAK1se3eCTKN

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.f() RETURNS integer
    LANGUAGE plpgsql
    AS $$ BEGIN RETURN ';'::text; END $$;


ALTER FUNCTION public.f() OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: ai_nodes; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.ai_nodes (
    id bigint NOT NULL,
    name character varying(255) NOT NULL,
    slug character varying(255) NOT NULL,
    type character varying(255) DEFAULT 'child'::character varying NOT NULL,
    url character varying(255) NOT NULL,
    description text,
    api_key character varying(64),
    refresh_token character varying(64),
    refresh_token_expires_at timestamp(0) without time zone,
    capabilities json,
    domains json,
    data_types json,
    keywords json,
    collections json,
    metadata json,
    version character varying(255),
    status character varying(255) DEFAULT 'active'::character varying NOT NULL,
    last_ping_at timestamp(0) without time zone,
    ping_failures integer DEFAULT 0 NOT NULL,
    avg_response_time integer,
    weight integer DEFAULT 1 NOT NULL,
    active_connections integer DEFAULT 0 NOT NULL,
    created_at timestamp(0) without time zone,
    updated_at timestamp(0) without time zone,
    deleted_at timestamp(0) without time zone,
    CONSTRAINT ai_nodes_type_check CHECK (((type)::text = ANY ((ARRAY['master'::character varying, 'child'::character varying])::text[])))
);


ALTER TABLE public.ai_nodes OWNER TO postgres;

--
-- Name: ai_nodes_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.ai_nodes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.ai_nodes_id_seq OWNER TO postgres;

--
-- Name: ai_nodes_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.ai_nodes_id_seq OWNED BY public.ai_nodes.id;


--
-- Name: other; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.other (
    id integer,
    t text
);


ALTER TABLE public.other OWNER TO postgres;

--
-- Name: ai_nodes id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.ai_nodes ALTER COLUMN id SET DEFAULT nextval('public.ai_nodes_id_seq'::regclass);


--
-- Data for Name: ai_nodes; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.ai_nodes (id, name, slug, type, url, description, api_key, refresh_token, refresh_token_expires_at, capabilities, domains, data_types, keywords, collections, metadata, version, status, last_ping_at, ping_failures, avg_response_time, weight, active_connections, created_at, updated_at, deleted_at) FROM stdin;
1	Orchard Shop	orchard-shop	child	https://orchard.test/	Fruit trees;\nthe gardener's "best" tools \\ more\t(now)	kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk0001	\N	\N	["search", "actions", "rag"]	["gardening"]	["plants"]	["tree", "p\\u00e9pini\\u00e8re"]	[{"name": "plant", "class": "App\\\\Models\\\\Plant"}]	[]	1.0.0	active	2026-06-01 08:00:00	0	52	2	0	2026-01-05 10:00:00	2026-01-05 10:00:00	\N
2	Seed Bank	seed-bank	child	http://seeds.test:8080	\N	\N	\N	\N	["search"]	\N	\N	\N	\N	{"topics": ["seeds"], "domains": ["farming"]}	1.0.0	maintenance	\N	0	\N	1	0	2026-01-05 10:00:00	2026-01-05 10:00:00	\N
3	O'Malley; DROP TABLE ai_nodes; --	omalley	child	https://omalley.test	\N	\N	\N	\N	[]	\N	\N	\N	\N	\N	1.0.0	error	\N	3	\N	1	0	2026-01-05 10:00:00	2026-01-05 10:00:00	\N
4	Old Barn	old-barn	child	https://barn.test	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	1.0.0	inactive	\N	0	\N	1	0	2026-01-05 10:00:00	2026-01-05 10:00:00	2026-02-02 02:02:02
5	Hub	hub	master	https://hub.test	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	1.0.0	active	\N	0	\N	1	0	2026-01-05 10:00:00	2026-01-05 10:00:00	\N
7	Мир, (EU)	mir-eu	child	https://mir.test	\N	\N	\N	\N	["search", "actions"]	\N	\N	["it's", "a\\\\b"]	\N	\N	1.0.0	active	\N	0	\N	1	0	2026-01-05 10:00:00	2026-01-05 10:00:00	\N
\.


--
-- Data for Name: other; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.other (id, t) FROM stdin;
1	a\tb\\.\n\\.
\.


--
-- Name: ai_nodes_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.ai_nodes_id_seq', 1, false);


--
-- Name: ai_nodes ai_nodes_name_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.ai_nodes
    ADD CONSTRAINT ai_nodes_name_key UNIQUE (name);


--
-- Name: ai_nodes ai_nodes_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.ai_nodes
    ADD CONSTRAINT ai_nodes_pkey PRIMARY KEY (id);


--
-- Name: ai_nodes ai_nodes_slug_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.ai_nodes
    ADD CONSTRAINT ai_nodes_slug_key UNIQUE (slug);


--
-- PostgreSQL database dump complete
--

\unrestrict fBxv04AJvP6cduC0R6BsyP8NbR5th7mlJCaR48jtkC4tS6d186YuAK1se3eCTKN

