"""The pages of the shop."""

from billing import views
from django.urls import path

urlpatterns = [
    path("login/", views.sign_in),
    path("plan/", views.change_plan),
    path("export/", views.export),
    path("webhook/", views.webhook),
]
