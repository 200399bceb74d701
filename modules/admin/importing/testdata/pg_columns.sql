--
-- PostgreSQL database dump
--

\restrict JKLZkSEJc7Gqs1lDlMxL9j9DZanXbcwArdOo2yrBzRIXutv5Q8kRfV6hJLaYEnC

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
-- Data for Name: ai_nodes; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO public.ai_nodes (id, name, slug, type, url, description, api_key, refresh_token, refresh_token_expires_at, capabilities, domains, data_types, keywords, collections, metadata, version, status, last_ping_at, ping_failures, avg_response_time, weight, active_connections, created_at, updated_at, deleted_at) VALUES
	(1, 'Orchard Shop', 'orchard-shop', 'child', 'https://orchard.test/', 'Fruit trees;
the gardener''s "best" tools \ more	(now)', 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk0001', NULL, NULL, '["search", "actions", "rag"]', '["gardening"]', '["plants"]', '["tree", "p\u00e9pini\u00e8re"]', '[{"name": "plant", "class": "App\\Models\\Plant"}]', '[]', '1.0.0', 'active', '2026-06-01 08:00:00', 0, 52, 2, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL),
	(2, 'Seed Bank', 'seed-bank', 'child', 'http://seeds.test:8080', NULL, NULL, NULL, NULL, '["search"]', NULL, NULL, NULL, NULL, '{"topics": ["seeds"], "domains": ["farming"]}', '1.0.0', 'maintenance', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL),
	(3, 'O''Malley; DROP TABLE ai_nodes; --', 'omalley', 'child', 'https://omalley.test', NULL, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, '1.0.0', 'error', NULL, 3, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL),
	(4, 'Old Barn', 'old-barn', 'child', 'https://barn.test', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '1.0.0', 'inactive', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', '2026-02-02 02:02:02');
INSERT INTO public.ai_nodes (id, name, slug, type, url, description, api_key, refresh_token, refresh_token_expires_at, capabilities, domains, data_types, keywords, collections, metadata, version, status, last_ping_at, ping_failures, avg_response_time, weight, active_connections, created_at, updated_at, deleted_at) VALUES
	(5, 'Hub', 'hub', 'master', 'https://hub.test', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '1.0.0', 'active', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL),
	(7, 'Мир, (EU)', 'mir-eu', 'child', 'https://mir.test', NULL, NULL, NULL, NULL, '["search", "actions"]', NULL, NULL, '["it''s", "a\\b"]', NULL, NULL, '1.0.0', 'active', NULL, 0, NULL, 1, 0, '2026-01-05 10:00:00', '2026-01-05 10:00:00', NULL);


--
-- Name: ai_nodes_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.ai_nodes_id_seq', 1, false);


--
-- PostgreSQL database dump complete
--

\unrestrict JKLZkSEJc7Gqs1lDlMxL9j9DZanXbcwArdOo2yrBzRIXutv5Q8kRfV6hJLaYEnC

