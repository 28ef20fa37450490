"""Every metric says how far it may be off, and whatever bound it states some test holds it to."""

import bounds
import test_error_bounds  # noqa: F401
import test_error_bounds_of_representations  # noqa: F401
import test_error_bounds_of_symmetries  # noqa: F401
from system_support import service, service_grpc

# Held to in tests/references, against SciPy and the authors' own code.
OF_REFERENCES = {"thermograd_svcca_ratio", "thermograd_pwcca_ratio"}


def errors(server):
    """What each metric says of its error."""
    with server.channel() as channel:
        stub = service_grpc.TrainingAnalysisServiceStub(channel)
        described = stub.DescribeMetrics(service.DescribeMetricsRequest()).metrics
    return {metric.name: metric.error for metric in described}


def states_a_bound(text):
    """Not where it only says why there is none."""
    return not text.startswith("No bound") or "<=" in text or "Within" in text


def test_every_metric_has_a_bound_or_a_reason(server):
    assert [name for name, text in errors(server).items() if not text.strip()] == []


def test_every_stated_bound_has_a_test(server):
    texts = errors(server)
    held = bounds.HELD | OF_REFERENCES
    assert held - texts.keys() == set()  # no test names a metric that is not there
    tested = {texts[name] for name in held}
    untested = {
        text: name for name, text in texts.items() if states_a_bound(text) and text not in tested
    }
    assert untested == {}
