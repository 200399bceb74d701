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
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Table structure for table `ai_nodes`
--

DROP TABLE IF EXISTS `ai_nodes`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `ai_nodes` (
  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(255) NOT NULL,
  `slug` varchar(255) NOT NULL,
  `type` enum('master','child') NOT NULL DEFAULT 'child',
  `url` varchar(255) NOT NULL,
  `description` text DEFAULT NULL,
  `api_key` varchar(64) DEFAULT NULL,
  `refresh_token` varchar(64) DEFAULT NULL,
  `refresh_token_expires_at` timestamp NULL DEFAULT NULL,
  `capabilities` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`capabilities`)),
  `domains` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`domains`)),
  `data_types` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`data_types`)),
  `keywords` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`keywords`)),
  `collections` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`collections`)),
  `metadata` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`metadata`)),
  `version` varchar(255) DEFAULT NULL,
  `status` enum('active','inactive','maintenance','error') NOT NULL DEFAULT 'active',
  `last_ping_at` timestamp NULL DEFAULT NULL,
  `ping_failures` int(11) NOT NULL DEFAULT 0,
  `avg_response_time` int(11) DEFAULT NULL,
  `weight` int(11) NOT NULL DEFAULT 1,
  `active_connections` int(11) NOT NULL DEFAULT 0,
  `created_at` timestamp NULL DEFAULT NULL,
  `updated_at` timestamp NULL DEFAULT NULL,
  `deleted_at` timestamp NULL DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `name` (`name`),
  UNIQUE KEY `slug` (`slug`),
  KEY `s` (`status`,`type`)
) ENGINE=InnoDB AUTO_INCREMENT=8 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `ai_nodes`
--

LOCK TABLES `ai_nodes` WRITE;
/*!40000 ALTER TABLE `ai_nodes` DISABLE KEYS */;
INSERT INTO `ai_nodes` VALUES
(1,'Orchard Shop','orchard-shop','child','https://orchard.test/','Fruit trees;\nthe gardener\'s \"best\" tools \\ more	(now)','kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk0001',NULL,NULL,'[\"search\", \"actions\", \"rag\"]','[\"gardening\"]','[\"plants\"]','[\"tree\", \"p\\u00e9pini\\u00e8re\"]','[{\"name\": \"plant\", \"class\": \"App\\\\Models\\\\Plant\"}]','[]','1.0.0','active','2026-06-01 08:00:00',0,52,2,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL),
(2,'Seed Bank','seed-bank','child','http://seeds.test:8080',NULL,NULL,NULL,NULL,'[\"search\"]',NULL,NULL,NULL,NULL,'{\"topics\": [\"seeds\"], \"domains\": [\"farming\"]}','1.0.0','maintenance',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL),
(3,'O\'Malley; DROP TABLE ai_nodes; --','omalley','child','https://omalley.test',NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'1.0.0','error',NULL,3,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL),
(4,'Old Barn','old-barn','child','https://barn.test',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1.0.0','inactive',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00','2026-02-02 02:02:02'),
(5,'Hub','hub','master','https://hub.test',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1.0.0','active',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL),
(7,'Мир, (EU)','mir-eu','child','https://mir.test',NULL,NULL,NULL,NULL,'[\"search\", \"actions\"]',NULL,NULL,'[\"it\'s\", \"a\\\\b\"]',NULL,NULL,'1.0.0','active',NULL,0,NULL,1,0,'2026-01-05 10:00:00','2026-01-05 10:00:00',NULL);
/*!40000 ALTER TABLE `ai_nodes` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `other`
--

DROP TABLE IF EXISTS `other`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `other` (
  `id` int(11) DEFAULT NULL,
  `t` text DEFAULT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `other`
--

LOCK TABLES `other` WRITE;
/*!40000 ALTER TABLE `other` DISABLE KEYS */;
INSERT INTO `other` VALUES
(1,'INSERT INTO `ai_nodes` VALUES (1);');
/*!40000 ALTER TABLE `other` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  7:25:03
