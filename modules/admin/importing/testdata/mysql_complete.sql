/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: app
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Dumping data for table `ai_nodes`
--

LOCK TABLES `ai_nodes` WRITE;
/*!40000 ALTER TABLE `ai_nodes` DISABLE KEYS */;
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (1,'Orchard Shop','orchard-shop','child','https://orchard.test/','Fruit trees;\nthe gardener\'s \"best\" tools \\ more	(now)','kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk0001',NULL,NULL,'[\"search\", \"actions\", \"rag\"]','[\"gardening\"]','[\"plants\"]','[\"tree\", \"p\\u00e9pini\\u00e8re\"]','[{\"name\": \"plant\", \"class\": \"App\\\\Models\\\\Plant\"}]','[]','1.0.0','active','2026-06-01 08:00:00',0,52,2,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (2,'Seed Bank','seed-bank','child','http://seeds.test:8080',NULL,NULL,NULL,NULL,'[\"search\"]',NULL,NULL,NULL,NULL,'{\"topics\": [\"seeds\"], \"domains\": [\"farming\"]}','1.0.0','maintenance',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (3,'O\'Malley; DROP TABLE ai_nodes; --','omalley','child','https://omalley.test',NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'1.0.0','error',NULL,3,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (4,'Old Barn','old-barn','child','https://barn.test',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1.0.0','inactive',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00','2026-02-02 02:02:02');
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (5,'Hub','hub','master','https://hub.test',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1.0.0','active',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
INSERT INTO `ai_nodes` (`id`, `name`, `slug`, `type`, `url`, `description`, `api_key`, `refresh_token`, `refresh_token_expires_at`, `capabilities`, `domains`, `data_types`, `keywords`, `collections`, `metadata`, `version`, `status`, `last_ping_at`, `ping_failures`, `avg_response_time`, `weight`, `active_connections`, `created_at`, `updated_at`, `deleted_at`) VALUES (7,'Мир, (EU)','mir-eu','child','https://mir.test',NULL,NULL,NULL,NULL,'[\"search\", \"actions\"]',NULL,NULL,'[\"it\'s\", \"a\\\\b\"]',NULL,NULL,'1.0.0','active',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
/*!40000 ALTER TABLE `ai_nodes` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  7:25:03
