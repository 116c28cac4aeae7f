"""The pages of the shop."""

from django.urls import path

from billing import views

urlpatterns = [
    path("login/", views.sign_in),
    path("plan/", views.change_plan),
    path("export/", views.export),
    path("webhook/", views.webhook),
]
