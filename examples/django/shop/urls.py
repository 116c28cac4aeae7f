"""The pages of the shop, and its metrics, to which a real site admits Prometheus only."""

from django.urls import path, re_path
from prometheus_client import REGISTRY
from prometheus_client.django import PrometheusDjangoView

from billing import views
from whisperr.django import get_client
from whisperr.prometheus import collector

# Here and not in an AppConfig: a server imports this module, and `manage.py migrate` does not.
REGISTRY.register(collector(get_client()))

urlpatterns = [
    path("login/", views.sign_in),
    path("plan/", views.change_plan),
    path("export/", views.export),
    path("webhook/", views.webhook),
    re_path("^metrics/?$", PrometheusDjangoView.as_view()),  # Prometheus asks without the slash
]
