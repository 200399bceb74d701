--
-- PostgreSQL database dump
--

\restrict ghpNtiNyTbzXTDonbZfwOFh1Kd9VqRO1QyHDjM167zH0Ak36DxEtXr8qrgRVMSm

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

INSERT INTO public.ai_nodes VALUES (1, 'Orchard Shop', 'orchard-shop', 'child', 'https://orchard.test/', 'Fruit trees;
the gardener''s "best" tools \ more	(now)', 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk0001', NULL, NULL, '["search", "actions", "rag"]', '["gardening"]', '["plants"]', '["tree", "p\u00e9pini\u00e8re"]', '[{"name": "plant", "class": "App\\Models\\Plant"}]', '[]', '1.0.0', 'active', '2026-06-01 08:00:00', 0, 52, 2, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);
INSERT INTO public.ai_nodes VALUES (2, 'Seed Bank', 'seed-bank', 'child', 'http://seeds.test:8080', NULL, NULL, NULL, NULL, '["search"]', NULL, NULL, NULL, NULL, '{"topics": ["seeds"], "domains": ["farming"]}', '1.0.0', 'maintenance', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);
INSERT INTO public.ai_nodes VALUES (3, 'O''Malley; DROP TABLE ai_nodes; --', 'omalley', 'child', 'https://omalley.test', NULL, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, '1.0.0', 'error', NULL, 3, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);
INSERT INTO public.ai_nodes VALUES (4, 'Old Barn', 'old-barn', 'child', 'https://barn.test', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '1.0.0', 'inactive', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', '2026-02-02 02:02:02');
INSERT INTO public.ai_nodes VALUES (5, 'Hub', 'hub', 'master', 'https://hub.test', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '1.0.0', 'active', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);
INSERT INTO public.ai_nodes VALUES (7, 'Мир, (EU)', 'mir-eu', 'child', 'https://mir.test', NULL, NULL, NULL, NULL, '["search", "actions"]', NULL, NULL, '["it''s", "a\\b"]', NULL, NULL, '1.0.0', 'active', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);


--
-- Data for Name: other; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO public.other VALUES (1, 'a	b\.
\.');


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

\unrestrict ghpNtiNyTbzXTDonbZfwOFh1Kd9VqRO1QyHDjM167zH0Ak36DxEtXr8qrgRVMSm

