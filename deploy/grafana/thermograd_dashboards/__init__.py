"""Grafana dashboards of Thermograd, built with Grafana's own SDK: one module a dashboard."""
