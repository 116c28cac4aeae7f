"""The pages of a site that receives the webhooks of Stripe."""

from __future__ import annotations

from django.urls import include, path

from whisperr.django import stripe_webhook

urlpatterns = [path("webhooks/", include([path("stripe/", stripe_webhook)]))]
